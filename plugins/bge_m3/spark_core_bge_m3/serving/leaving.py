"""Callers who leave before they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ["cancelled_when_left"]

Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


def cancelled_when_left(app: Application) -> Application:
    """*app*, whose work for a caller is cancelled when the caller leaves."""

    async def application(scope: Event, receive: Receive, send: Send) -> None:
        # No more than one piece of the body is taken before the application wants it.
        events: asyncio.Queue[Event] = asyncio.Queue(1)
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(_run(app(scope, events.get, send)))
            leaving = tasks.create_task(_until_left(receive, events))
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            answering.cancel()
            leaving.cancel()

    return application


async def _run(answer: Awaitable[None]) -> None:
    await answer


async def _until_left(receive: Receive, events: asyncio.Queue[Event]) -> None:
    while (event := await receive())["type"] != "http.disconnect":
        await events.put(event)
