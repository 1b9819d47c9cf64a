"""What is sent: its shape, in batches, several at once."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_bge_m3.providers import open_reranker
from spark_core_bge_m3.reranker import BgeM3Reranker
from spark_core_bge_m3.settings import BgeM3Settings

from spark_core.errors import BackendError

pytestmark = pytest.mark.anyio


async def test_requests_are_as_agreed(
    embedder: BgeM3Embedder, reranker: BgeM3Reranker, server: Any
) -> None:
    """The bodies have the shape that servers of these APIs read."""
    await embedder.embed(["a", "b"])
    await reranker.rerank("q", ["a", "b"])
    first, second = server.requests
    assert first.path == "/v1/embeddings"
    assert first.body == {"model": "BAAI/bge-m3", "input": ["a", "b"]}
    assert second.path == "/v1/rerank"
    assert second.body == {
        "model": "BAAI/bge-reranker-v2-m3",
        "query": "q",
        "documents": ["a", "b"],
    }
    assert "authorization" not in first.headers


async def test_the_key_is_sent(server: Any) -> None:
    """An API key goes with every request, and a path before /v1 is kept."""
    settings = BgeM3Settings(url=server.url + "/gpu/", api_key="k-123")
    async with open_reranker(settings) as reranker:
        await reranker.rerank("q", ["a"])
    assert server.requests[0].headers["authorization"] == "Bearer k-123"
    assert server.requests[0].path == "/gpu/v1/rerank"


async def test_a_wrong_answers_url_is_shown(opened: Any, server: Any) -> None:
    """The error names the address that was asked, to be tried by hand."""
    server.plan = [server.Reply(body=b"[]")]
    async with opened(url=server.url + "/gpu/") as ours:
        with pytest.raises(BackendError, match=re.escape(f"{server.url}/gpu/v1/rerank answered")):
            await BgeM3Reranker(ours, "m").rerank("q", ["a"])


async def test_batches_run_side_by_side_within_bounds(opened: Any, server: Any) -> None:
    """Many texts go in batches, several at once but no more than allowed."""
    server.gate.clear()
    texts = [f"text {n}" for n in range(20)]
    async with opened(batch=2, concurrency=3) as ours:
        embedder = BgeM3Embedder(ours, "m")
        both = asyncio.gather(embedder.embed(texts), embedder.embed(texts))
        await server.arrived(3)
        server.gate.set()
        first, second = await both
    assert first == second
    assert len(first) == 20
    assert server.most_at_once == 3
    assert {len(request.body["input"]) for request in server.requests} == {2}


async def test_one_failure_cancels_the_rest(opened: Any, server: Any) -> None:
    """When a batch fails for good, nobody waits for those that still run."""
    server.plan = [server.Reply(400), server.HANG]
    async with opened(batch=1, concurrency=2) as ours:
        with pytest.raises(BackendError, match="status 400"):
            await BgeM3Embedder(ours, "m").embed(["a", "b", "c", "d"])


async def test_a_cancelled_call_leaves_nothing_behind(embedder: BgeM3Embedder, server: Any) -> None:
    """After a caller has left, its places are free again."""
    server.gate.clear()
    call = asyncio.create_task(embedder.embed([str(n) for n in range(20)]))
    await server.arrived(4)
    call.cancel()
    await asyncio.wait([call])
    server.gate.set()
    assert call.cancelled()
    assert len(await embedder.embed([str(n) for n in range(20)])) == 20
