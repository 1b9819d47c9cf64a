"""A real HTTP server on loopback that serves both models, and misbehaves as it is told."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_bge_m3.reranker import BgeM3Reranker
from spark_core_bge_m3.server import Server
from spark_core_bge_m3.settings import BgeM3Settings

from spark_core.http_client import Retries
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.reranking import FakeReranker


@dataclass
class Reply:
    """What the server answers. Without a body it hangs up instead."""

    status: int = 200
    body: bytes | None = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Because", f"Content-Length: {len(self.body or b'')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + (self.body or b"")


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


#: A step of the plan: another reply, or a change to the honest answer's JSON.
Step = Reply | Callable[[dict[str, Any]], Any]


class ModelServer:
    """Answers honestly once its ``plan`` has come to its end.

    ``requests`` is what came in. While ``gate`` is not set, requests are read and not answered.
    """

    Reply = Reply
    HANG = Reply(status=0)

    def __init__(self) -> None:
        self.plan: list[Step] = []
        self.requests: list[Request] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0
        self.url = ""
        self._arrived = asyncio.Condition()
        self._embedder, self._reranker = FakeEmbedder(), FakeReranker()
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[ModelServer]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        try:
            yield self
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await server.wait_closed()

    async def arrived(self, count: int) -> None:
        """Wait until *count* requests have come in."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        reply = await self._answer(Request(head[0].split()[1], headers, body))
        if reply.body is None:
            return False
        writer.write(reply.encoded())
        await writer.drain()
        return True

    async def _answer(self, request: Request) -> Reply:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        step = self.plan.pop(0) if self.plan else None
        try:
            async with self._arrived:
                self.requests.append(request)
                self._arrived.notify_all()
            await self.gate.wait()
            if step is self.HANG:
                await asyncio.get_running_loop().create_future()
            if isinstance(step, Reply):
                return step
            answer = await self._honest(request)
            return Reply(body=json.dumps(step(answer) if step else answer).encode())
        finally:
            self.at_once -= 1

    async def _honest(self, request: Request) -> dict[str, Any]:
        if request.path.endswith("/v1/embeddings"):
            vectors = await self._embedder.embed(request.body["input"])
            data = [{"index": n, "embedding": list(v)} for n, v in enumerate(vectors)]
            return {"object": "list", "data": data[::-1]}  # the order is not promised
        scores = await self._reranker.rerank(request.body["query"], request.body["documents"])
        results = [{"index": n, "relevance_score": s} for n, s in enumerate(scores)]
        return {"results": sorted(results, key=lambda r: -float(r["relevance_score"]))}


class Pauses(list[float]):
    """Notes how long was waited for, and does not wait."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def opened(
    server: ModelServer, pauses: Pauses
) -> Callable[..., AbstractAsyncContextManager[Server]]:
    """Opens our side of the server, with settings."""

    def opened(**settings: Any) -> AbstractAsyncContextManager[Server]:
        retries = Retries(count=3, sleep=pauses, random=lambda: 0.5, clock=Noon())
        return Server.open(BgeM3Settings(**{"url": server.url, **settings}), retries)

    return opened


@pytest.fixture
async def embedder(opened: Any) -> AsyncIterator[BgeM3Embedder]:
    async with opened(batch=2) as ours:
        yield BgeM3Embedder(ours, "BAAI/bge-m3")


@pytest.fixture
async def reranker(opened: Any) -> AsyncIterator[BgeM3Reranker]:
    async with opened(batch=2) as ours:
        yield BgeM3Reranker(ours, "BAAI/bge-reranker-v2-m3")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer().serving() as server:
        yield server
