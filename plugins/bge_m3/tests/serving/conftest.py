"""Small models without torch, and the real server around them."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any
from zlib import crc32

import httpx
import pytest
from spark_core_bge_m3.serving.app import Names, make_app
from spark_core_bge_m3.serving.batching import Models, Row, Tokens, Worker
from spark_core_bge_m3.serving.command import make_server

DIMENSION = 64
NAMES = Names("BAAI/bge-m3", "BAAI/bge-reranker-v2-m3")


def words(text: str) -> list[int]:
    """A token for each word, and one for the end."""
    return [*map(crc32, re.findall(rb"\w+", text.lower().encode())), 0]


class FakeModel:
    """Notes the lengths of what runs together.

    While ``gate`` is not set, batches wait; ``running`` counts those that came so far. What is
    in ``failures`` is raised instead, for batches that hold a token of it.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Semaphore(0)
        self.failures: dict[int, Exception] = {}

    async def begun(self) -> None:
        """Wait for the next batch to begin."""
        await asyncio.to_thread(self.running.acquire)

    def tokens(self, inputs: Sequence[Any]) -> list[Tokens]:
        return [{"input_ids": words(text)} for text in inputs]

    def run(self, batch: Sequence[Tokens]) -> list[Row]:
        self.batches.append([len(tokens["input_ids"]) for tokens in batch])
        self.running.release()
        self.gate.wait()
        for tokens in batch:
            for token in tokens["input_ids"]:
                if token in self.failures:
                    raise self.failures[token]
        return [self.row(tokens) for tokens in batch]

    def row(self, tokens: Tokens) -> Row:
        """Words are counted, each in its place: texts that share some are near."""
        row = [0.0] * DIMENSION
        for token in tokens["input_ids"]:
            row[token % DIMENSION] += 1.0
        if crc32(b"nan") in tokens["input_ids"]:
            row[0] = math.nan
        return [number / math.hypot(*row) for number in row]


class FakeReranker(FakeModel):
    """Scores a text by the share of the query's words that it holds."""

    def tokens(self, inputs: Sequence[Any]) -> list[Tokens]:
        pairs = [(words(query), words(text)) for query, text in inputs]
        return [{"input_ids": q + t, "query": q, "text": t} for q, t in pairs]

    def row(self, tokens: Tokens) -> Row:
        query = set(tokens["query"])
        return [len(query & set(tokens["text"])) / len(query)]


@pytest.fixture(scope="class")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def models() -> Models:
    return Models(FakeModel(), FakeReranker(), DIMENSION)


@pytest.fixture
def load(models: Models) -> Callable[[], Models]:
    """Loads the small models."""
    return lambda: models


@asynccontextmanager
async def working(load: Callable[[], Models], **options: Any) -> AsyncIterator[Worker]:
    """A worker whose models are loaded."""
    worker = Worker(**{"batch_tokens": 64, **options})
    models = load()
    task = asyncio.create_task(worker.run(lambda: models))
    await worker.ask(models.reranker, [("ready", "ready")])  # answered when they are loaded
    try:
        yield worker
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def worker(load: Callable[[], Models]) -> AsyncIterator[Worker]:
    async with working(load, most_waiting=100) as worker:
        yield worker


@pytest.fixture
async def client(worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the application, without a socket."""
    transport = httpx.ASGITransport(make_app(worker, NAMES))
    async with httpx.AsyncClient(transport=transport, base_url="http://spark") as client:
        yield client


Serving = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session")
def serving() -> Serving:
    """Runs the real server around models that it loads; its address."""

    @asynccontextmanager
    async def serving(load: Callable[[], Models], **options: Any) -> AsyncIterator[str]:
        listening = socket.create_server(("127.0.0.1", 0))
        async with working(load, **options) as worker:
            server = make_server(worker, NAMES)
            task = asyncio.create_task(server.serve([listening]))
            try:
                yield "http://127.0.0.1:%d" % listening.getsockname()[1]  # noqa: UP031
            finally:
                server.should_exit = True
                await task

    return serving
