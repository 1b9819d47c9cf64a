"""How requests share batches, and what happens to them when something goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spark_core_bge_m3.serving.batching import Worker
from spark_core_bge_m3.serving.refusals import Refusal

pytestmark = pytest.mark.anyio


def text(tokens: int) -> str:
    """A text that is read as so many *tokens*."""
    return " ".join(["w"] * (tokens - 1))


Tasks = list[asyncio.Task[Any]]


@asynccontextmanager
async def waiting(worker: Worker, model: Any, *requests: Sequence[Any]) -> AsyncIterator[Tasks]:
    """*requests* wait in this order while a batch runs; at the end all of them are over.

    ``model.batches`` are those that come after.
    """
    while model.running.acquire(blocking=False):
        pass
    model.gate.clear()
    first = asyncio.create_task(worker.ask(model, [text(2)]))
    await model.begun()
    model.batches.clear()
    tasks = [asyncio.create_task(worker.ask(model, inputs)) for inputs in requests]
    await asyncio.sleep(0)  # each has begun, and waits
    try:
        yield tasks
    finally:
        model.gate.set()
        await asyncio.wait([first, *tasks])


async def test_callers_are_merged_while_a_batch_runs(worker: Worker, models: Any) -> None:
    """What came in meanwhile goes together, as far as it fits, and each gets its own rows."""
    requests = ([text(5)], [text(3), text(5)], [text(4)])
    async with waiting(worker, models.embedder, *requests) as tasks:
        pass
    assert models.embedder.batches == [[5, 5, 4, 3]]
    assert [len(task.result().rows) for task in tasks] == [1, 2, 1]
    assert [task.result().tokens for task in tasks] == [5, 8, 4]


async def test_a_batch_holds_texts_of_like_length(worker: Worker, models: Any) -> None:
    """With 64 tokens in a batch, padding included, the long ones go first, together."""
    lengths = [4, 30, 4, 32, 4, 31]
    async with waiting(worker, models.embedder, [text(n) for n in lengths]):
        pass
    assert models.embedder.batches == [[32, 31], [30, 4], [4, 4]]


async def test_a_text_longer_than_a_batch_runs_alone(worker: Worker, models: Any) -> None:
    """It is not refused: the model reads as far as it reads."""
    async with waiting(worker, models.embedder, [text(100)], [text(100)]):
        pass
    assert models.embedder.batches == [[100], [100]]


async def test_a_query_does_not_wait_for_a_backfill(worker: Worker, models: Any) -> None:
    """Two batches go before it at most, however many texts were there first."""
    async with waiting(worker, models.embedder, [text(40)] * 9, [text(3)]):
        pass
    assert models.embedder.batches.index([3]) <= 2


async def test_a_backfill_goes_on_among_queries(worker: Worker, models: Any) -> None:
    """New requests, too long to share a batch, take no more than every other one."""
    queries = [[text(n)] for n in range(50, 60)]
    async with waiting(worker, models.embedder, [text(40)] * 3, *queries):
        pass
    assert [len(b) for b in models.embedder.batches[:6]] == [1] * 6
    assert [b[0] for b in models.embedder.batches[:6]] == [40, 40, 50, 40, 51, 52]


async def test_models_do_not_share_batches(worker: Worker, models: Any) -> None:
    """Texts and pairs wait in one line, and run apart."""
    async with waiting(worker, models.embedder, [text(9)]) as tasks:
        tasks.append(asyncio.create_task(worker.ask(models.reranker, [("q", text(2))])))
        await asyncio.sleep(0)
    assert [len(task.result().rows[0]) for task in tasks] == [64, 1]


@settings(max_examples=50, deadline=None)
@given(
    requests=st.lists(st.lists(st.integers(1, 80), min_size=1, max_size=12), min_size=1, max_size=8)
)
def test_any_requests_are_answered_in_full(requests: list[list[int]]) -> None:
    """Each text once, in its caller's order, in batches that keep to their bound."""
    from spark_core_bge_m3.serving.batching import Models

    class Lengths:
        """Answers with the length itself."""

        batches: list[list[int]] = []

        def tokens(self, inputs: Sequence[int]) -> Any:
            return [{"input_ids": [0] * number} for number in inputs]

        def run(self, batch: Any) -> Any:
            self.batches.append([len(tokens["input_ids"]) for tokens in batch])
            return [[float(len(tokens["input_ids"]))] for tokens in batch]

    async def answered(model: Any) -> list[Any]:
        worker = Worker(batch_tokens=64)
        working = asyncio.create_task(worker.run(lambda: Models(model, model, 1)))
        try:
            return await asyncio.gather(*(worker.ask(model, inputs) for inputs in requests))
        finally:
            working.cancel()
            await asyncio.wait([working])

    model = Lengths()
    model.batches = []
    answers = asyncio.run(answered(model))
    assert [[int(row[0]) for row in answer.rows] for answer in answers] == requests
    assert sorted(n for b in model.batches for n in b) == sorted(n for r in requests for n in r)
    assert all(len(b) == 1 or len(b) * max(b) <= 64 for b in model.batches)
    assert all(b == sorted(b, reverse=True) for b in model.batches)


# ------------------------------------------------------------------------------ trouble


async def test_one_bad_text_is_nobody_elses_loss(worker: Worker, models: Any) -> None:
    """A batch that fails is tried in halves, until the one at fault is alone."""
    from zlib import crc32

    models.embedder.failures[crc32(b"bad")] = RuntimeError()
    requests = [["a"], ["b", "bad"], ["c"], ["nan"]]
    async with waiting(worker, models.embedder, *requests) as tasks:
        pass
    good, bad, also_good, not_a_number = tasks
    assert len(good.result().rows) == len(also_good.result().rows) == 1
    assert (bad.exception().code, not_a_number.exception().code) == (
        "model_failed",
        "not_finite",
    )


async def test_what_cannot_be_read_fails_alone(worker: Worker, models: Any) -> None:
    """The tokenizer's failure is its request's only; the worker goes on."""
    async with waiting(worker, models.embedder, ["a"], [None]) as tasks:
        pass
    assert len(tasks[0].result().rows) == 1
    assert tasks[1].exception().code == "model_failed"


async def test_who_leaves_takes_the_texts_along(worker: Worker, models: Any) -> None:
    """Nothing is computed for a caller who is gone, and the place is free at once."""
    async with waiting(worker, models.embedder, [text(9)] * 50, [text(3)]) as tasks:
        before = worker.waiting
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert (before, worker.waiting) == (52, 2)
    assert models.embedder.batches == [[3]]


async def test_more_than_may_wait_is_refused(
    worker: Worker, models: Any, client: httpx.AsyncClient
) -> None:
    """503 with the seconds to wait, and what is in the line is answered all the same."""
    async with waiting(worker, models.embedder, [text(3)] * 90) as tasks:
        with pytest.raises(Refusal) as caught:
            await worker.ask(models.embedder, ["a"] * 10)
        answer = await client.post("/v1/embeddings", json={"input": ["a"] * 10})
        tasks.append(asyncio.create_task(worker.ask(models.embedder, ["a"] * 9)))
        await asyncio.sleep(0)
    assert caught.value.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    assert int(answer.headers["retry-after"]) > 0
    assert [len(task.result().rows) for task in tasks] == [90, 9]


async def test_health_does_not_wait_for_work(
    worker: Worker, models: Any, client: httpx.AsyncClient
) -> None:
    """While a batch runs and others wait, health answers."""
    async with waiting(worker, models.embedder, ["a"]):
        health = await client.get("/health")
    assert health.json() == {"status": "ok", "waiting": 2}
