"""An answer's pieces are sent on as they come, each once and in order, however slow the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from spark_core_http.forwarding import Forwarding

from spark_core.gateway.connection import BrokenOff, Connection
from spark_core.gateway.upstream import Upstream

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Client:
    """Takes what is sent; while ``reads`` is not set, sending waits."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.changed = asyncio.Event()
        self.failure: Exception | None = None

    async def send(self, event: dict[str, Any]) -> None:
        """As a server does: the piece is written, then there may be no room for more."""
        if self.failure is not None:
            raise self.failure
        self.got.append(event["body"])
        self.changed.set()
        await self.reads.wait()

    async def has(self, count: int) -> None:
        """Wait for so many pieces."""
        while len(self.got) < count:
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def asked(
    whole: asyncio.Event | None = None,
) -> AsyncIterator[tuple[asyncio.StreamWriter, Connection]]:
    """The backend's side of an answer that began, and ours; *whole* is set when all has come."""
    whole = whole or asyncio.Event()
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        await writers.put(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream(f"http://127.0.0.1:{port}")
    answer = await upstream.ask(b"GET", b"/", [], first_byte_s=30, when_complete=whole.set)
    writer = await writers.get()
    try:
        yield writer, answer
    finally:
        answer.close()
        upstream.close()
        writer.close()
        server.close()


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def test_pieces_are_sent_as_they_come() -> None:
    """Each is with the client before the backend goes on."""
    client = Client()
    async with asked() as (backend, answer):
        running = asyncio.create_task(Forwarding(client.send).run(answer))
        for count, piece in enumerate((b"one", b"two", b"three"), 1):
            backend.write(chunk(piece))
            await client.has(count)
        backend.write(b"0\r\n\r\n")
        await running
    assert client.got == [b"one", b"two", b"three"]


async def test_what_comes_while_the_client_is_slow_follows_when_it_reads() -> None:
    """Nothing is lost, doubled or overtaken, and nothing more is sent to one who does not read."""
    client = Client()
    client.reads.clear()
    whole = asyncio.Event()
    async with asked(whole) as (backend, answer):
        running = asyncio.create_task(Forwarding(client.send).run(answer))
        backend.write(chunk(b"one"))
        await client.has(1)
        backend.write(chunk(b"two") + chunk(b"three") + b"0\r\n\r\n")
        await whole.wait()
        assert client.got == [b"one"]
        client.reads.set()
        await running
    assert client.got == [b"one", b"twothree"]


async def test_a_failure_to_send_is_raised_where_the_answer_is_relayed() -> None:
    """It is the relay's, and not the connection's to the backend."""
    client = Client()
    client.failure = RuntimeError("no more")
    async with asked() as (backend, answer):
        backend.write(chunk(b"one"))
        with pytest.raises(RuntimeError, match="no more"):
            await Forwarding(client.send).run(answer)


async def test_what_came_is_sent_before_the_backends_failure_is_raised() -> None:
    """An answer that breaks off is told to have done so, after its last piece."""
    client = Client()
    async with asked() as (backend, answer):
        backend.write(chunk(b"one"))
        backend.close()
        with pytest.raises(BrokenOff):
            await Forwarding(client.send).run(answer)
    assert client.got == [b"one"]


async def test_a_relay_is_cancelled_while_the_client_does_not_read() -> None:
    """What waits for the client ends with it."""
    client = Client()
    client.reads.clear()
    async with asked() as (backend, answer):
        running = asyncio.create_task(Forwarding(client.send).run(answer))
        backend.write(chunk(b"one"))
        await client.has(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_the_end_of_an_answer_is_known_however_it_came_in_pieces() -> None:
    client = Client()
    async with asked() as (writer, found):
        forwarding = Forwarding(client.send)
        running = asyncio.create_task(forwarding.run(found))
        for count, piece in enumerate((b"data: half", b"\n"), 1):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await client.has(count)
        writer.write(b"0\r\n\r\n")
        await running
        assert forwarding.last.endswith(b"half\n")
