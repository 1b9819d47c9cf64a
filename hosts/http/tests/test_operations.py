"""Operations as routes: what goes in, what comes out."""

from __future__ import annotations

from typing import Any

import falcon
import pytest
from falcon.testing import TestClient
from pydantic import BaseModel, ConfigDict, Field
from spark_core_http import create_app
from typing_extensions import TypeAliasType  # of Python itself from 3.12 on

from spark_core import Caller, Effect, Operation
from spark_core.errors import PluginError
from spark_core.operations import Empty

pytestmark = pytest.mark.anyio


Kinds = TypeAliasType("Kinds", list[str])


class Question(BaseModel):
    text: str
    limit: int = Field(default=10, ge=1)
    exact: bool = False
    tags: list[str] | None = None


class Answer(BaseModel):
    fields: dict[str, Any]


async def ask(request: Question) -> Answer:
    """Ask something."""
    return Answer(fields=request.model_dump())


async def who(request: Empty, caller: Caller) -> Answer:
    """Say who asks."""
    return Answer(fields={"caller": caller.name})


class Odd(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    req: str = ""
    resp: str = ""
    me: str = Field(default="", alias="self")


async def odd(request: Odd) -> Answer:
    """Take fields with odd names."""
    return Answer(fields=request.model_dump(by_alias=True))


class Sorts(BaseModel):
    tags: list[str] = Field(default=[], validation_alias="tag", serialization_alias="tag")
    labels: list[str] = Field(default=[], alias="label")
    kinds: Kinds = []


async def sort(request: Sorts) -> Answer:
    """Take lists under other names than their fields'."""
    return Answer(fields=request.model_dump(by_alias=True))


GET = Operation("ask", ask, Effect.READ, method="GET")
POST = Operation("ask", ask, Effect.READ)
WHO = Operation("who", who, Effect.READ)


async def test_post_takes_a_json_object(open_client) -> None:
    async with open_client(POST) as client:
        answer = await client.simulate_post("/api/ask", json={"text": "héllo", "limit": 3})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"fields": {"text": "héllo", "limit": 3, "exact": False, "tags": None}}


async def test_get_takes_query_parameters_lists_by_repetition(open_client) -> None:
    query = "text=a&limit=3&exact=true&tags=x&tags=y"
    async with open_client(GET) as client:
        answer = await client.simulate_get("/api/ask", query_string=query)
    assert answer.json["fields"] == {"text": "a", "limit": 3, "exact": True, "tags": ["x", "y"]}


async def test_a_list_may_have_one_value(open_client) -> None:
    async with open_client(GET) as client:
        answer = await client.simulate_get("/api/ask", query_string="text=a&tags=x")
    assert answer.json["fields"]["tags"] == ["x"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("text=a&limit=many", "/limit"),
        ("text=a&limit=0", "/limit"),
        ("text=a&limt=3", "/limt"),
        ("text=a&text=b", "/text"),
        ("limit=3", "/text"),
    ],
)
async def test_a_wrong_parameter_is_pointed_at(open_client, query: str, pointer: str) -> None:
    async with open_client(GET) as client:
        answer = await client.simulate_get("/api/ask", query_string=query)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


@pytest.mark.parametrize("query", ["text=%ff", "&".join(["tags=x"] * 1001)])
async def test_an_impossible_query_string_is_refused(open_client, query: str) -> None:
    async with open_client(GET) as client:
        answer = await client.simulate_get("/api/ask", query_string=query)
    assert answer.status_code == 422


async def test_wrong_and_unknown_fields_are_all_pointed_at(open_client) -> None:
    async with open_client(POST) as client:
        answer = await client.simulate_post("/api/ask", json={"text": 1, "limit": 0, "exatc": True})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json["errors"]] == ["/text", "/limit", "/exatc"]
    assert "did you mean 'exact'" in answer.json["errors"][2]["detail"]


@pytest.mark.parametrize(
    ("field", "value"), [("limit", "5"), ("limit", True), ("exact", "true"), ("tags", "x")]
)
async def test_a_json_body_has_json_types(open_client, field: str, value: Any) -> None:
    async with open_client(POST) as client:
        answer = await client.simulate_post("/api/ask", json={"text": "a", field: value})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json["errors"]] == [f"/{field}"]


async def test_the_path_and_the_query_are_text_beside_a_body(open_client) -> None:
    operation = Operation("ask", ask, Effect.READ, path="/api/ask/{limit}")
    async with open_client(operation) as client:
        answer = await client.simulate_post("/api/ask/5?exact=true", json={"text": "a"})
        wrong = await client.simulate_post("/api/ask/5", json={"text": "a", "exact": "true"})
    assert answer.json["fields"] == {"text": "a", "limit": 5, "exact": True, "tags": None}
    assert [error["pointer"] for error in wrong.json["errors"]] == ["/exact"]


@pytest.mark.parametrize("name", ["req", "resp", "self"])
async def test_a_field_in_the_path_has_any_name(open_client, name: str) -> None:
    operation = Operation("odd", odd, Effect.READ, path=f"/api/odd/{{{name}}}")
    async with open_client(operation) as client:
        answer = await client.simulate_post("/api/odd/x")
    assert (answer.status_code, answer.json["fields"][name]) == (200, "x")


@pytest.mark.parametrize("name", ["tag", "label", "kinds"])
async def test_a_list_by_another_name_is_a_list(open_client, name: str) -> None:
    async with open_client(Operation("sort", sort, Effect.READ, method="GET")) as client:
        answer = await client.simulate_get(f"/api/sort?{name}=x&{name}=y")
    assert answer.json["fields"][name] == ["x", "y"]


async def test_no_body_is_an_empty_request(open_client) -> None:
    async with open_client(WHO) as client:
        answer = await client.simulate_post("/api/who", remote_addr="192.0.2.7")
    assert answer.json == {"fields": {"caller": "http 192.0.2.7"}}


async def test_fields_of_a_post_may_also_stand_in_the_query(open_client) -> None:
    async with open_client(POST) as client:
        answer = await client.simulate_post("/api/ask?limit=3", json={"text": "a"})
        twice = await client.simulate_post("/api/ask?text=b", json={"text": "a"})
    assert answer.json["fields"]["limit"] == 3
    assert (twice.status_code, twice.json["errors"][0]["pointer"]) == (422, "/text")


async def test_a_path_may_hold_fields(open_client) -> None:
    operation = Operation("ask", ask, Effect.READ, method="GET", path="/api/ask/{text}")
    async with open_client(operation) as client:
        answer = await client.simulate_get("/api/ask/what?limit=2")
    assert answer.json["fields"]["text"] == "what"
    assert answer.json["fields"]["limit"] == 2


async def test_methods_share_a_path(open_client) -> None:
    put = Operation("who", who, Effect.READ, method="PUT", path="/api/ask")
    async with open_client(GET, put) as client:
        assert (await client.simulate_get("/api/ask?text=a")).status_code == 200
        assert (await client.simulate_put("/api/ask")).status_code == 200
        wrong = await client.simulate_delete("/api/ask")
    assert wrong.status_code == 405
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "OPTIONS"}


async def test_head_answers_like_get_without_a_body(open_client) -> None:
    async with open_client(GET) as client:
        got = await client.simulate_get("/api/ask?text=a")
        head = await client.simulate_head("/api/ask?text=a")
    assert (head.status_code, head.text) == (200, "")
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_options_lists_the_methods(open_client) -> None:
    async with open_client(GET) as client:
        answer = await client.simulate_options("/api/ask")
    assert (answer.status_code, answer.headers["allow"]) == (200, "GET, HEAD")


def test_two_operations_with_one_route_are_refused(make_spark, make_plugin) -> None:
    other = Operation("other", who, Effect.READ, path="/api/ask")
    with pytest.raises(PluginError, match=r"POST /api/ask .* dist-probe and by .*dist-second"):
        create_app(spark=make_spark(POST, plugins=(make_plugin("second", operations=[other]),)))


@pytest.mark.parametrize("path", ["/health", "/openapi.json", "/"])
def test_the_hosts_own_routes_cannot_be_taken(make_spark, path: str) -> None:
    operation = Operation("mine", who, Effect.READ, method="GET", path=path)
    with pytest.raises(PluginError, match="the HTTP host and by operation mine"):
        create_app(spark=make_spark(operation))


async def test_the_request_id_is_kept_if_it_is_sane(open_client) -> None:
    async with open_client() as client:
        kept = await client.simulate_get("/health", headers={"X-Request-Id": "abc-1.2"})
        made = await client.simulate_get("/health", headers={"X-Request-Id": "a b\tc"})
        missing = await client.simulate_get("/nothing")
    assert kept.headers["x-request-id"] == "abc-1.2"
    assert len(made.headers["x-request-id"]) == 32
    assert len(missing.headers["x-request-id"]) == 32


def test_it_works_started_and_stopped_around_each_request(make_spark) -> None:
    client = TestClient(create_app(spark=make_spark(GET)))
    assert client.simulate_get("/ready").json == {"status": "ready"}
    assert client.simulate_get("/ready").json == {"status": "ready"}
    assert client.simulate_get("/api/ask?text=a").status == falcon.HTTP_200


async def test_it_works_without_a_lifespan(make_spark) -> None:
    import httpx

    spark = make_spark(WHO)
    transport = httpx.ASGITransport(create_app(spark=spark))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/ready")).json() == {"status": "ready"}
        assert (await client.post("/api/who")).status_code == 200
    await spark.resolver.aclose()
