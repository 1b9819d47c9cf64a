"""What an operation says of its HTTP answers: its status, headers that are fields, and what
must hold before a request is looked at.
"""

from __future__ import annotations

import pytest
from pydantic import BaseModel, SecretStr

from spark_core import Effect, Operation
from spark_core.errors import Forbidden, Locked

pytestmark = pytest.mark.anyio


class Shown(BaseModel):
    token: SecretStr | None = None


class Task(Shown):
    name: str


class Done(BaseModel):
    name: str
    token: str | None = None


async def do(request: Task) -> Done:
    """Do it."""
    return Done(name=request.name, token=request.token and request.token.get_secret_value())


async def is_open(request: Shown) -> None:
    """Only for who shows the token."""
    if request.token is None:
        raise Locked("somebody has it")
    if request.token.get_secret_value() != "sesam":
        raise Forbidden("this token is wrong")


def operation(**more: object) -> Operation:
    return Operation("do", do, Effect.WRITE, headers={"x-token": "token"}, **more)


async def test_a_header_fills_the_field_that_the_operation_names(open_client):
    async with open_client(operation()) as client:
        answer = await client.post("/api/do", json={"name": "a"}, headers={"X-Token": "t"})
        assert answer.json == {"name": "a", "token": "t"}


async def test_an_answer_has_the_status_that_the_operation_says(open_client):
    async with open_client(operation(status=202)) as client:
        answer = await client.post("/api/do", json={"name": "a"})
        assert (answer.status_code, answer.json["name"]) == (202, "a")


async def test_an_answer_of_status_204_has_no_body(open_client):
    async with open_client(operation(status=204)) as client:
        answer = await client.post("/api/do", json={"name": "a"})
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("body", [b"{", b'{"nmae": 1}', b""])
@pytest.mark.parametrize(("headers", "status"), [({}, 423), ({"X-Token": "\xfc"}, 403)])
async def test_a_precondition_comes_before_whatever_is_wrong_with_the_request(
    open_client, body, headers, status
):
    async with open_client(operation(precondition=is_open)) as client:
        answer = await client.post("/api/do", body=body, headers=headers)
        assert answer.status_code == status


async def test_a_precondition_that_holds_lets_the_request_through(open_client):
    async with open_client(operation(precondition=is_open)) as client:
        answer = await client.post("/api/do", json={"name": "a"}, headers={"X-Token": "sesam"})
        assert answer.status_code == 200


async def test_the_document_tells_of_the_status_and_the_header(open_client):
    async with open_client(operation(status=202)) as client:
        route = (await client.get("/openapi.json")).json["paths"]["/api/do"]["post"]
        assert "202" in route["responses"]
        assert [(p["name"], p["in"]) for p in route["parameters"]] == [("x-token", "header")]
