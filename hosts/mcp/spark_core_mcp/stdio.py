"""MCP over standard input and output, which then belong to the protocol alone.

A transport of our own: the SDK's reads in a thread, which Ctrl-C cannot end, takes lines of any
length, and leaves a line that is no message without an answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, redirect_stdout, suppress
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from pydantic_core import from_json

__all__ = ["Incoming", "Outgoing", "claimed", "connected"]

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]

#: How many bytes are read or written at once. Where a pipe says that it can be written to, so
#: many do not block.
CHUNK: Final = 4096

#: How long calls may go on when there is no more input, in seconds.
DRAIN_SECONDS: Final = 10.0


@contextmanager
def claimed() -> Iterator[tuple[int, int]]:
    """Descriptors that lead to standard input and output, which until the end nothing else does.

    What anything prints meanwhile goes to standard error, also from C or from another process;
    whoever reads from standard input finds nothing.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    source, sink, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nothing, 0)
        os.dup2(2 if _is_open(2) else nothing, 1)
        with redirect_stdout(sys.stderr):
            yield source, sink
    finally:
        os.dup2(source, 0)
        os.dup2(sink, 1)
        for descriptor in (source, sink, nothing):
            os.close(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@asynccontextmanager
async def connected(
    source: int, sink: int, max_message: int
) -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """Messages from the descriptor *source*, and to *sink*, as the SDK's server wants them."""
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    wire = _Wire(source, sink, max_message)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.receive, to_server)
        tasks.start_soon(wire.send, from_server)
        with incoming, outgoing:
            yield incoming, outgoing
        tasks.cancel_scope.cancel()


class _Wire:
    """One line for each message. Knows which requests have no answer yet."""

    def __init__(self, source: int, sink: int, max_message: int) -> None:
        self._source = source
        self._sink = sink
        self._max = max_message
        self._unanswered = set[str | int]()
        self._answered = asyncio.Event()
        self._writing = asyncio.Lock()

    async def receive(self, to_server: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Pass on what is read until there is no more; a line that is no message is answered."""
        async with to_server, aclosing(_lines(self._source, self._max)) as lines:
            async for line in lines:
                message = _message(line, self._max)
                if isinstance(message, JSONRPCError):
                    await self._write(message)
                    continue
                if isinstance(message, JSONRPCRequest):
                    self._unanswered.add(message.id)
                with suppress(anyio.BrokenResourceError):  # the server has ended
                    await to_server.send(SessionMessage(message))
            await self._drain()

    async def _drain(self) -> None:
        """Let the calls end whose answers somebody may still read."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._unanswered:
                    self._answered.clear()
                    await self._answered.wait()

    async def send(self, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write what the server says. Where nobody reads it any more, nothing is written."""
        async with from_server:
            async for said in from_server:
                await self._write(said.message)
                self._unanswered.discard(getattr(said.message, "id", None) or "")
                self._answered.set()

    async def _write(self, message: JSONRPCMessage) -> None:
        line = message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        async with self._writing:
            with suppress(BrokenPipeError):
                for start in range(0, len(line), CHUNK):
                    await _write(self._sink, line[start : start + CHUNK])


def _message(line: bytes | None, limit: int) -> JSONRPCMessage:
    """The message in *line*, ``None`` for one that was too long; else the error to answer with."""
    if line is None:
        return _error(INVALID_REQUEST, f"a message may have at most {limit} bytes", None)
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    try:
        given = from_json(line)
    except ValueError:
        return _error(PARSE_ERROR, "a line was read that is no JSON", None)
    return _error(INVALID_REQUEST, "a line was read that is no JSON-RPC message", given)


def _error(code: int, message: str, given: Any) -> JSONRPCError:
    """An error for whoever sent *given*, by its id where it has one."""
    id = given.get("id") if isinstance(given, dict) else None
    known = id if isinstance(id, str | int) and not isinstance(id, bool) else None
    return JSONRPCError(jsonrpc="2.0", id=known, error=ErrorData(code=code, message=message))


async def _lines(source: int, limit: int) -> AsyncGenerator[bytes | None, None]:
    """The lines that are not empty; ``None`` stands for one that is longer than *limit*."""
    line = bytearray()
    while chunk := await _read(source):
        for number, part in enumerate(chunk.split(b"\n")):
            if number:
                if line.strip():
                    yield bytes(line) if len(line) <= limit else None
                line.clear()
            if len(line) <= limit:  # of what is too long the rest is not kept
                line += part
    if line.strip():
        yield bytes(line) if len(line) <= limit else None


async def _read(source: int) -> bytes:
    """What there is to read, when there is something; nothing at the end."""
    while True:
        await _ready(source, writing=False)
        with suppress(BlockingIOError):
            return os.read(source, 16 * CHUNK)


async def _write(sink: int, data: bytes) -> None:
    while data:
        await _ready(sink, writing=True)
        with suppress(BlockingIOError):
            data = data[os.write(sink, data) :]


async def _ready(descriptor: int, *, writing: bool) -> None:
    """Wait until *descriptor* can be read from or written to without blocking."""
    loop = asyncio.get_running_loop()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    )
    ready = asyncio.Event()
    try:
        add(descriptor, ready.set)
    except PermissionError:  # a regular file, which is always ready
        return
    try:
        await ready.wait()
    finally:
        remove(descriptor)
