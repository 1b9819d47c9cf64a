"""Server-sent events: how far long work is, what it yields, and how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from pydantic import BaseModel

from spark_core.pace import Pace

from .problems import describe

__all__ = ["EVENT_STREAM", "EventStream", "Feed", "events"]

EVENT_STREAM: Final = "text/event-stream"

#: A comment is sent when there was nothing else for so long: proxies end silent connections.
PING_SECONDS: Final = 15.0

#: So long work may fail before anything else happens, and is answered with a status then: the
#: head of an answer is sent when there is something to tell, or after so many seconds.
HEAD_SECONDS: Final = 1.0

_PING: Final = b": ping\n\n"


class Feed:
    """What the work has said and the client has not heard yet.

    It is the operation's progress. Of progress only the latest is kept; of what a stream
    yields nothing is lost, so the work waits for a client that is slow.
    """

    def __init__(self) -> None:
        self._progress: dict[str, Any] | None = None
        self._pace = Pace()
        self._yielded = asyncio.Queue[BaseModel](maxsize=1)
        self._news = asyncio.Event()

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        """Say how far the work is (see :class:`spark_core.Progress`)."""
        rate, left = self._pace.of(phase, done, total)
        told = {"phase": phase, "done": done, "total": total, "unit": unit}
        self._progress = {**told, "rate": rate, "seconds_left": left}
        self.wake()

    async def put(self, event: BaseModel) -> None:
        """Say *event*, when the one before it was taken."""
        await self._yielded.put(event)
        self.wake()

    def wake(self) -> None:
        """Let whoever waits for news look again."""
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Whether there was news within so many *seconds*."""
        with suppress(TimeoutError):
            # Not wait_for, which forgets that it was cancelled if there is news just then.
            async with asyncio.timeout(seconds):
                await self._news.wait()
        return self._news.is_set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said since the last time."""
        return self._progress is None and self._yielded.empty()

    def take(self) -> Iterator[bytes]:
        """All that was said since the last time, as events."""
        self._news.clear()
        if self._progress is not None:
            yield _event("progress", json.dumps(self._progress))
            self._progress = None
        while not self._yielded.empty():
            event = self._yielded.get_nowait()
            yield _event("message", _json(event), getattr(event, "id", None))


async def events(
    work: Callable[[Feed], Awaitable[BaseModel | None]],
    on_error: Callable[[BaseException], None],
    ping: float = PING_SECONDS,
) -> AsyncGenerator[bytes, None]:
    """Do *work*, and tell what it says and how it ended.

    The first that it yields is a comment, once the work is under way. Closed before the end, as
    when the client leaves, it cancels the work and waits for it. *on_error* hears of the error
    that the work ended with.

    :raises Exception: what the work raised before it was under way.
    """
    feed = Feed()
    task = asyncio.ensure_future(work(feed))
    task.add_done_callback(lambda _: feed.wake())
    try:
        await feed.wait(min(HEAD_SECONDS, ping))
        if task.done() and feed.is_empty and not task.cancelled() and (error := task.exception()):
            raise error
        yield _PING  # the client learns that it is heard
        while not task.done():
            if not await feed.wait(ping):
                yield _PING
            for event in feed.take():
                yield event
        for event in feed.take():
            yield event
        yield _outcome(task, on_error)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _outcome(
    task: asyncio.Future[BaseModel | None], on_error: Callable[[BaseException], None]
) -> bytes:
    try:
        return _event("result", _json(task.result()))
    except (Exception, asyncio.CancelledError) as error:
        on_error(error)
        # Work that was cancelled by itself is as unexpected as any other error.
        problem = describe(error if isinstance(error, Exception) else RuntimeError())
        return _event("error", json.dumps(problem))


def _json(model: BaseModel | None) -> str:
    return "null" if model is None else model.model_dump_json(by_alias=True)


def _event(name: str, data: str, number: object = None) -> bytes:
    """An event; a client that comes back tells the *number* of the last one that it has."""
    id = f"id: {number}\n" if isinstance(number, int) else ""
    return f"{id}event: {name}\ndata: {data}\n\n".encode()


class EventStream(AsyncIterator[bytes]):
    """*events* as Falcon wants them: it calls ``close``, whatever happens in between.

    *first* was taken from them already.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], first: bytes | None = None) -> None:
        self._events = events
        self._first = first

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        return await anext(self._events) if first is None else first

    async def close(self) -> None:
        """End the events and the work behind them."""
        await self._events.aclose()
