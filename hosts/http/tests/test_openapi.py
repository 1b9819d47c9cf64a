"""The OpenAPI document says what the routes do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field

from spark_core import BackendKind, Effect, Operation, Progress
from spark_core.gateway.relays import EMBEDDINGS, RERANK
from spark_core.gateway.sections import BackendsSection
from spark_core.operations import Empty

pytestmark = pytest.mark.anyio


class Part(BaseModel):
    name: str


class Query(BaseModel):
    text: str = Field(description="What to look for.")
    limit: int = Field(default=10, ge=1)
    tags: list[str] | None = None


class Order(BaseModel):
    parts: list[Part]


class Found(BaseModel):
    parts: list[Part]


class Lost(BaseModel):
    reason: str


async def look(request: Query) -> Found | Lost:
    """Look for parts.

    At length.
    """
    return Lost(reason="")


async def order(request: Order, progress: Progress) -> Found:
    """Order parts."""
    return Found(parts=request.parts)


async def watch(request: Empty) -> AsyncIterator[Found]:
    """Watch parts."""
    yield Found(parts=[])


OFFERED: dict[str, Any] = {
    "backends": [BackendKind("probe", BackendsSection, (EMBEDDINGS, RERANK))],
}
OPERATIONS = [
    Operation("parts.look", look, Effect.READ, method="GET", path="/api/parts/{text}"),
    Operation("parts.order", order, Effect.WRITE),
    Operation("parts.watch", watch, Effect.READ, method="GET"),
    Operation("stop", watch, Effect.OPERATE, method="DELETE", path="/api/parts/order"),
]


@pytest.fixture
async def document(open_client) -> Any:
    async with open_client(*OPERATIONS, **OFFERED) as client:
        answer = await client.simulate_get("/openapi.json")
        again = await client.simulate_get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert again.json == answer.json
    return answer.json


async def test_it_is_valid(document) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


async def test_every_operation_is_there(document) -> None:
    order = document["paths"]["/api/parts/order"]["post"]
    assert order["operationId"] == "parts.order"
    assert order["tags"] == ["parts"]
    assert order["x-spark-effect"] == "write"
    assert order["requestBody"]["required"] is True
    body = order["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Order"}
    assert document["paths"]["/api/parts/order"]["delete"]["x-spark-effect"] == "operate"
    assert document["paths"]["/api/plugins"]["get"]["operationId"] == "plugins"


async def test_the_fields_of_a_get_are_parameters(document) -> None:
    look = document["paths"]["/api/parts/{text}"]["get"]
    assert "requestBody" not in look
    places = {p["name"]: (p["in"], p["required"]) for p in look["parameters"]}
    assert places == {"text": ("path", True), "limit": ("query", False), "tags": ("query", False)}
    assert look["parameters"][0]["description"] == "What to look for."
    assert look["description"] == "Look for parts.\n\nAt length."


async def test_answers_have_their_models_and_problems(document) -> None:
    responses = document["paths"]["/api/parts/{text}"]["get"]["responses"]
    schema = responses["200"]["content"]["application/json"]["schema"]
    assert [choice["$ref"] for choice in schema["anyOf"]] == [
        "#/components/schemas/Found",
        "#/components/schemas/Lost",
    ]
    assert set(responses) == {"200", "422", "default"}
    problem = responses["default"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}
    ordered = document["paths"]["/api/parts/order"]["post"]["responses"]
    assert {"400", "403", "413", "415", "422"} <= set(ordered)


async def test_events_are_declared_where_there_are_any(document) -> None:
    def types(path: str, method: str) -> set[str]:
        return set(document["paths"][path][method]["responses"]["200"]["content"])

    assert types("/api/parts/order", "post") == {"application/json", "text/event-stream"}
    assert types("/api/parts/watch", "get") == {"application/json", "text/event-stream"}
    assert types("/api/plugins", "get") == {"application/json"}


async def test_relays_are_declared(document) -> None:
    relay = document["paths"]["/v1/embeddings"]["post"]
    assert relay["operationId"] == "relay.embeddings"
    assert document["paths"]["/rerank"]["post"]["operationId"] == "relay.rerank.rerank"


async def test_everything_installed_here_makes_a_valid_document() -> None:
    from pathlib import Path

    from falcon.testing import ASGIConductor
    from spark_core_http import create_app

    from spark_core.settings import Source
    from spark_core.spark import compose

    spark = compose(Source(None, Path(), {}, {}, {}))
    async with ASGIConductor(create_app(spark=spark)) as client:
        document = (await client.simulate_get("/openapi.json", host="localhost")).json
    OpenAPIV31SpecValidator(document).validate()


class Calling(BaseModel):
    call: Callable[[], None] = print


async def call(request: Calling) -> Calling:
    """Call something."""
    return request


@pytest.mark.parametrize(
    "operation",
    [
        Operation("bad", call, Effect.READ),
        Operation("bad", look, Effect.READ, path="/bad/{id}"),
        Operation("bad", look, Effect.READ, path="/bad/{limit:int}"),
        Operation("bad", order, Effect.WRITE, method="GET"),
    ],
)
async def test_an_operation_that_cannot_be_described_spoils_no_other(
    open_client, make_plugin, operation: Operation
) -> None:
    bad = make_plugin("bad", operations=[operation])
    async with open_client(*OPERATIONS, plugins=(bad,)) as client:
        document = (await client.simulate_get("/openapi.json")).json
        [warning] = (await client.simulate_get("/ready")).json["warnings"]
    OpenAPIV31SpecValidator(document).validate()
    assert "/api/parts/order" in document["paths"]
    assert operation.path not in document["paths"]
    assert warning.startswith("plugin bad (dist-bad 1.0): spark_register_operations: ")
