"""A server of HTTP that does what a test says, byte by byte, right or wrong."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Peer", "Scripted", "answer", "serving"]


class Gone(Exception):
    """The client closed its side, within a request or instead of one."""


class Peer:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def head(self) -> bytes:
        """The head of the next request.

        :raises Gone: there is none.
        """
        try:
            return await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone from None

    async def body(self, head: bytes) -> bytes:
        """The body behind *head*.

        :raises Gone: it is not whole.
        """
        fields = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:-1])
        try:
            if b"transfer-encoding" not in fields:
                return await self._reader.readexactly(int(fields.get(b"content-length", b"0")))
            body = b""
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readexactly(2)
            return body
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone from None

    async def skip(self, length: int) -> int:
        """Read *length* bytes and keep none; how many came."""
        left = length
        while left and (piece := await self._reader.read(min(left, 65536))):
            left -= len(piece)
        return length - left

    async def request(self) -> tuple[bytes, bytes]:
        """Head and body of the next request."""
        head = await self.head()
        return head, await self.body(head)

    async def send(self, *pieces: bytes) -> None:
        """Send, and wait until the client has room for more."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def gone(self) -> None:
        """Wait until the client has closed its side."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def reset(self) -> None:
        """Break the connection off."""
        there = self._writer.get_extra_info("socket")
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Scripted:
    """What is served at ``port``; each connection is closed where its script ends."""

    port: int
    connections: int = 0
    errors: list[BaseException] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(
    script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Scripted]:
    """Let *script* answer each connection."""
    served = Scripted(0)
    running: set[asyncio.Task[None]] = set()
    closing: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        closing.add(task)
        try:
            await script(Peer(reader, writer))
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:
            served.errors.append(error)
        finally:
            running.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await writer.wait_closed()
            closing.discard(task)

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for _ in range(5):  # who was just accepted begins, to be ended in order
            await asyncio.sleep(0)
        for task in [*running]:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
    assert served.errors == []


def answer(body: bytes = b"", status: bytes = b"200 OK", *headers: bytes) -> bytes:
    """An answer of known length."""
    lines = b"".join(b"%b\r\n" % header for header in headers)
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), lines, body)
