"""What the host tells about itself."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_http import status

from spark_core import BackendKind, Effect, Operation
from spark_core.gateway.relays import EMBEDDINGS
from spark_core.gateway.sections import BackendsSection
from spark_core.introspection import list_plugins
from spark_core.plugins import Plugin
from spark_core.state import Leases

pytestmark = pytest.mark.anyio

BROKEN = Plugin("bad", "dist-bad", "2.0", error="import: ImportError: no module named 'x'")


async def test_health_looks_at_nothing(open_client, tmp_path) -> None:
    async with open_client() as client:
        answer = await client.simulate_get("/health")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    assert list(tmp_path.iterdir()) == []


async def test_ready_when_the_state_answers(open_client) -> None:
    async with open_client() as client:
        answer = await client.simulate_get("/ready")
    assert (answer.status_code, answer.json) == (200, {"status": "ready"})


async def test_broken_plugins_are_warnings(open_client) -> None:
    async with open_client(plugins=(BROKEN,)) as client:
        answer = await client.simulate_get("/ready")
    assert answer.json == {
        "status": "ready",
        "warnings": ["plugin bad (dist-bad 2.0): import: ImportError: no module named 'x'"],
    }


async def test_not_ready_when_the_state_cannot_be_opened(open_client) -> None:
    wrong = {"state": {"url": "postgresql+nodriver://user:secret@localhost/x"}}
    async with open_client(plugins=(BROKEN,), toml=wrong) as client:
        answer = await client.simulate_get("/ready")
    assert (answer.status_code, answer.json["status"]) == (503, 503)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "[state] url" in answer.json["detail"]
    assert len(answer.json["warnings"]) == 1
    assert "secret" not in answer.text


async def test_not_ready_when_the_state_does_not_answer(open_client, monkeypatch) -> None:
    monkeypatch.setattr(status, "PATIENCE", 0.001)
    monkeypatch.setattr(Leases, "current", _never)
    async with open_client() as client:
        answer = await client.simulate_get("/ready")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "state database" in answer.json["detail"]


async def _never(self: Leases, name: str) -> None:
    await asyncio.get_running_loop().create_future()


async def test_the_index_lists_every_route(open_client) -> None:
    operation = Operation("look", list_plugins, Effect.READ, path="/api/look")
    kind = BackendKind("probe", BackendsSection, (EMBEDDINGS,))
    async with open_client(operation, backends=[kind]) as client:
        answer = await client.simulate_get("/")
    routes = {(route["method"], route["path"]): route["summary"] for route in answer.json["routes"]}
    assert routes["POST", "/api/look"].startswith("List the installed plugins")
    assert {("GET", "/health"), ("GET", "/api/plugins"), ("POST", "/v1/embeddings")} <= set(routes)
    assert answer.json["openapi"] == "/openapi.json"
