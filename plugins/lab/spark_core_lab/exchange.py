"""From HTTP's request to a call, and from an answer to HTTP's response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from aiohttp import BodyPartReader, web

from .answers import Answer, Call, Stream
from .faults import Cut, Fault, spoil

__all__ = ["in_pieces", "make_request", "read_call"]

LARGEST: Final = 1 << 30  #: body, in bytes
PIECES: Final = 4  #: that a plain answer is sent in where something goes wrong with its body


def make_request(*parts: Any) -> web.BaseRequest:
    """A request of aiohttp's, but with room for an hour of audio."""
    message, payload, protocol, writer, task = parts
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=LARGEST)


async def read_call(request: web.BaseRequest, fault: Fault | None) -> Call:
    """All of *request*."""
    method, path, headers = request.method, request.path, request.headers
    if request.content_type != "multipart/form-data":
        body = await request.read()
        return Call(method, path, request.query, headers, body, fault=fault)
    form = await _form(request)
    return Call(method, path, request.query, headers, form=form, fault=fault)


async def _form(request: web.BaseRequest) -> dict[str, list[bytes]]:
    form: dict[str, list[bytes]] = {}
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name is not None:
                form.setdefault(part.name, []).append(bytes(await part.read()))
    except ValueError:  # what came so far is what there is: the backend says what is missing
        pass
    return form


async def in_pieces(
    request: web.BaseRequest,
    reply: Answer | Stream,
    headers: Mapping[str, str],
    fault: Fault | None,
) -> web.StreamResponse:
    """Send *reply* piece by piece, and let *fault* spoil it."""
    response = web.StreamResponse(headers=headers)
    if isinstance(reply, Answer):
        response.set_status(reply.status)
        if fault and fault.fault != "half_event":
            response.content_length = len(reply.body)
    pieces = reply.pieces if isinstance(reply, Stream) else _slices(reply.body)
    await response.prepare(request)
    async with aclosing(pieces), aclosing(spoil(pieces, fault) if fault else pieces) as spoilt:
        try:
            async for piece in spoilt:
                await response.write(piece)
        except Cut:
            _close(request)
    return response


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


async def _slices(body: bytes) -> AsyncGenerator[bytes, None]:
    size = -(-len(body) // PIECES) or 1
    for start in range(0, len(body), size):
        yield body[start : start + size]
