"""A server that is busy, silent or gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_bge_m3.reranker import BgeM3Reranker

from spark_core.errors import TimedOut, Unavailable

pytestmark = pytest.mark.anyio

SECRET = "Ada's private note"


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again(
    embedder: BgeM3Embedder, server: Any, pauses: Any, status: int
) -> None:
    """Pauses grow; the answer is the one that came at last."""
    server.plan = [server.Reply(status)] * 3
    assert len(await embedder.embed(["a"])) == 1
    assert pauses == [0.375, 0.75, 1.5]


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("7", 7.0),
        ("0", 0.375),
        ("86400", 30.0),
        ("9" * 500, 30.0),
        ("Mon, 05 Jan 2026 12:00:09 GMT", 9.0),
        ("Mon, 05 Jan 2026 12:00:09 -0000", 9.0),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0.375),
        ("soon", 0.375),
        ("-5", 0.375),
        ("Jan 30 99999999999 12:00:09", 0.375),
    ],
)
async def test_retry_after_is_heeded(
    embedder: BgeM3Embedder, server: Any, pauses: Any, asked: str, waited: float
) -> None:
    """The server says how long to wait, in seconds or by date, within bounds."""
    server.plan = [server.Reply(503, headers={"Retry-After": asked})]
    await embedder.embed(["a"])
    assert pauses == [waited]


@pytest.mark.parametrize(("asked", "told"), [("40", 40), ("9" * 500, 3600)])
async def test_a_server_that_stays_busy_is_unavailable(
    embedder: BgeM3Embedder, server: Any, pauses: Any, asked: str, told: int
) -> None:
    """After the last try the error says where, and when to come back, within reason."""
    server.plan = [server.Reply(503, headers={"Retry-After": asked})] * 4
    with pytest.raises(Unavailable, match=r"/v1/embeddings is busy \(status 503\)") as caught:
        await embedder.embed([SECRET])
    assert len(pauses) == 3
    assert told <= caught.value.retry_after <= told + 5
    assert "Ada" not in str(caught.value)


async def test_broken_connections_are_made_again(
    embedder: BgeM3Embedder, server: Any, pauses: Any
) -> None:
    """A server that hangs up, as one that restarts does, is asked again."""
    server.plan = [server.Reply(body=None)] * 2
    assert len(await embedder.embed(["a"])) == 1
    assert len(pauses) == 2


async def test_a_silent_server_times_out(opened: Any, server: Any, pauses: Any) -> None:
    """Silence is waited for as long as settings say, each time."""
    server.gate.clear()
    async with opened(timeout_s=0.05) as ours:
        with pytest.raises(TimedOut, match=r"/v1/rerank did not answer in time"):
            await BgeM3Reranker(ours, "m").rerank("q", ["a"])
    assert len(pauses) == 3
    await server.arrived(4)


async def test_an_absent_server_is_named_without_its_password(
    opened: Any, server: Any, pauses: Any
) -> None:
    """Where nobody listens the error says so, and keeps credentials to itself."""
    port = await _unused_port()
    url = f"http://ada:hunter2@127.0.0.1:{port}"
    async with opened(control_url=url) as ours:
        with pytest.raises(Unavailable, match=f"http://127.0.0.1:{port}/v1/embeddings") as caught:
            await BgeM3Embedder(ours, "m").embed(["a"])
    assert len(pauses) == 3
    assert "hunter2" not in str(caught.value) + repr(caught.value)


async def _unused_port() -> int:
    listening = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    return port
