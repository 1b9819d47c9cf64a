"""The fakes that other tests build on keep the contracts they stand for."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from spark_core.errors import Unavailable
from spark_core.testing.embedding import EmbedderConformance, FakeEmbedder, cosine
from spark_core.testing.reranking import FakeReranker, RerankerConformance


class TestFakeEmbedder(EmbedderConformance):
    @pytest.fixture(params=[8, 64, 384])
    def embedder(self, request: pytest.FixtureRequest) -> FakeEmbedder:
        return FakeEmbedder(request.param)


class TestFakeReranker(RerankerConformance):
    @pytest.fixture
    def reranker(self) -> FakeReranker:
        return FakeReranker()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_texts_that_share_words_are_alike() -> None:
    """The fake is good enough to find something with."""
    query, near, far = await FakeEmbedder().embed(
        ["pump bearing", "the bearing of a pump", "an invoice is due"]
    )
    assert cosine(query, near) > 0.5 > cosine(query, far)


@pytest.mark.anyio
async def test_vectors_are_the_same_in_every_process() -> None:
    """Python's own hash differs from process to process; the fake's must not."""
    code = (
        "import asyncio; from spark_core.testing.embedding import FakeEmbedder;"
        "print(asyncio.run(FakeEmbedder(16).embed(['Ada met Grace'])))"
    )
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(await FakeEmbedder(16).embed(["Ada met Grace"]))


@pytest.mark.anyio
async def test_what_was_asked_is_counted() -> None:
    """Tests see how often the embedder was called, and for how many texts."""
    embedder = FakeEmbedder()
    await embedder.embed(["a", "b"])
    await embedder.embed(["c"])
    assert (embedder.calls, embedder.texts_embedded) == (2, 3)


@pytest.mark.anyio
async def test_a_gate_holds_calls_back() -> None:
    """A call is under way, and not done, until the gate opens."""
    embedder = FakeEmbedder()
    embedder.gate = asyncio.Event()
    call = asyncio.create_task(embedder.embed(["a"]))
    await asyncio.wait([call], timeout=0)
    assert embedder.calls == 1
    assert embedder.texts_embedded == 0
    embedder.gate.set()
    assert len(await call) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("fake", ["embedder", "reranker"])
async def test_a_failure_is_raised_until_it_is_taken_back(fake: str) -> None:
    """Tests can take the backend down and bring it back."""
    embedder, reranker = FakeEmbedder(), FakeReranker()
    embedder.failure = reranker.failure = Unavailable("down")
    with pytest.raises(Unavailable):
        await (embedder.embed(["a"]) if fake == "embedder" else reranker.rerank("a", ["a"]))
    embedder.failure = reranker.failure = None
    assert await (embedder.embed(["a"]) if fake == "embedder" else reranker.rerank("a", ["a"]))
