"""The body of a request: watched while it arrives, and let run out when nobody wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import falcon
from falcon.asgi import Request

__all__ = ["Upload", "read_body"]

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

#: How much of an unwanted body is let run out, in bytes and in seconds.
DRAIN_BYTES: Final = 1024**3
DRAIN_SECONDS: Final = 30.0


class Upload:
    """Receives a request's body and knows whether all of it has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._started = False
        self._over = False

    async def receive(self) -> Mapping[str, Any]:
        """The next event of the request.

        Falcon takes the end of a connection for the end of the body; a body of which only
        the beginning came must never pass for the whole.

        :raises falcon.HTTPError: the client left, or fell silent, within its body.
        """
        event = await self._receive()
        left = event["type"] == "http.disconnect"
        if left and self._started and not self._over:
            self._over = True
            raise falcon.HTTPError(408, description="the request ended within its body")
        self._started = True
        self._over = self._over or left or not event.get("more_body", False)
        return event

    async def drain(self, most: int = DRAIN_BYTES, seconds: float = DRAIN_SECONDS) -> None:
        """Let the rest of the body run out, at most so much of it.

        Most clients send all of their body before they look for an answer, and never see
        one that comes with the connection's end.
        """
        if self._over:
            return  # as with nearly every request
        with suppress(TimeoutError, falcon.HTTPError):
            async with asyncio.timeout(seconds):
                while not self._over and most > 0:
                    event = await self.receive()
                    most -= len(event.get("body", b""))


async def read_body(req: Request, limit: int) -> bytes:
    """The whole body.

    :raises falcon.HTTPError: it is larger than *limit* bytes, or ended too early.
    """
    if (req.content_length or 0) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in req.stream:
        if len(body) + len(chunk) > limit:
            raise _too_large(limit)
        body += chunk
    return bytes(body)


def _too_large(limit: int) -> falcon.HTTPError:
    return falcon.HTTPError(413, description=f"the body is larger than {limit} bytes")
