"""Where `spark scheduler` tells a supervisor whether it is alive: ``GET /health``."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from .leading import Pulse

__all__ = ["telling"]

#: Seconds that somebody may take to ask, and bytes that they may ask in.
PATIENCE, MOST = 5.0, 8192


@asynccontextmanager
async def telling(listener: socket.socket, pulse: Pulse, limit: float) -> AsyncIterator[None]:
    """While the block runs, tell at *listener*: 200, or 503 where *pulse* is *limit* s old."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(TimeoutError, OSError, asyncio.IncompleteReadError, ValueError):
                async with asyncio.timeout(PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_answer(head, pulse, limit))
                    await writer.drain()
        except asyncio.LimitOverrunError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, sock=listener, limit=MOST)
    try:
        yield
    finally:
        server.close()


def _answer(head: bytes, pulse: Pulse, limit: float) -> bytes:
    method, path, *_ = (head.split(b"\r\n", 1)[0] + b"  ").split(b" ")
    if method not in (b"GET", b"HEAD") or path != b"/health":
        return _response(HTTPStatus.NOT_FOUND, {})
    alive = pulse.age <= limit
    body = {
        "status": "ok" if alive else "stuck",
        "role": pulse.role,
        "running": pulse.running,
        "beat_age_s": round(pulse.age, 3),
    }
    status = HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE
    return _response(status, body, with_body=method == b"GET")


def _response(status: HTTPStatus, body: Mapping[str, object], *, with_body: bool = True) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (content if with_body else b"")
