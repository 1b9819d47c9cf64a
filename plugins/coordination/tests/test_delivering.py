"""Receivers are told over HTTP: slow, dead, and in between."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from spark_core_coordination import telling as telling_module
from spark_core_coordination.delivering import Receiver, open_receiver
from spark_core_coordination.locks import Locks
from spark_core_coordination.outbox import Outbox
from spark_core_coordination.settings import CoordinationSettings
from spark_core_coordination.sources import LockSource
from spark_core_coordination.telling import tell_receivers

from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

SELF_SIGNED = Path(__file__).parents[3] / "tests" / "unit" / "gateway" / "self-signed.pem"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Listener:
    """Somebody who listens for events; ``answer`` says how it takes them."""

    url: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    answer: Answer | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append((request.path_qs, dict(request.headers), await request.read()))
        async with self.news:
            self.news.notify_all()
        return web.Response() if self.answer is None else await self.answer(request)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20), self.news:
            await self.news.wait_for(lambda: len(self.got) >= count)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers, _ in self.got]


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Listener]:
    listener = Listener()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    scheme = "https" if tls else "http"
    listener.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/hook?token=abc"
    try:
        yield listener
    finally:
        await runner.cleanup()


def status(code: int, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers=headers)

    return answer


async def never(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


Open = Callable[..., AbstractAsyncContextManager[Receiver]]


@pytest.fixture
def open_telling(outbox: Outbox, locks: Locks, spark_clock: ManualClock) -> Open:
    """A receiver at an address, to whom a reservation and its end are to be told."""

    @asynccontextmanager
    async def opener(url: str, **settings: Any) -> AsyncIterator[Receiver]:
        hook = {"url": url, "name": "r", "events": ["lock_acquired", "lock_forced"]}
        checked = CoordinationSettings.model_validate(
            {"webhooks": [hook], "webhook_timeout_s": 5, **settings}
        )
        await outbox.catch_up(source := LockSource(locks))
        await locks.acquire("nightly", 600)
        await locks.force()
        await outbox.collect(source, checked.webhooks)
        async with open_receiver(checked.webhooks[0], outbox, spark_clock, checked) as receiver:
            receiver.random = lambda: 0.5
            yield receiver

    return opener


async def test_item_4_events_are_sent_in_their_order_and_once(open_telling: Open) -> None:
    async with listening() as listener, open_telling(listener.url) as receiver:
        assert [await receiver.tell() for _ in range(3)] == [True, True, False]
    assert [body[:23] for _, _, body in listener.got] == [
        b'{"type":"lock_acquired"',
        b'{"type":"lock_forced","',
    ]
    path, headers, _ = listener.got[0]
    assert path == "/hook?token=abc"
    assert headers["Content-Type"] == "application/json"


async def test_a_receiver_that_fails_is_asked_again_later_and_later(
    open_telling: Open, spark_clock: ManualClock, outbox: Outbox
) -> None:
    pauses = []
    async with listening() as listener, open_telling(listener.url) as receiver:
        listener.answer = status(500)
        for _ in range(12):
            assert await receiver.tell()
            assert not await receiver.tell()
            delivery = await outbox.next("r")
            assert delivery is None
            pauses.append(await _pass(outbox, spark_clock))
        listener.answer = None
        assert await receiver.tell()
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert len(set(listener.ids)) == 1  # the id is the same each time


async def _pass(outbox: Outbox, clock: ManualClock) -> int:
    """Let time pass until the next delivery is due; gives how many seconds that was."""
    for second in range(1, 100_000):
        clock.advance(1)
        if second % 5 == 0 and await outbox.next("r"):
            return second
    raise AssertionError("nothing is due any more")


async def test_later_events_wait_for_the_one_that_was_not_taken(
    open_telling: Open, spark_clock: ManualClock
) -> None:
    async with listening() as listener, open_telling(listener.url) as receiver:
        listener.answer = status(503)
        await receiver.tell()
        listener.answer = None
        assert not await receiver.tell()
        spark_clock.advance(5)
        await receiver.tell()
        await receiver.tell()
    assert listener.ids[0] == listener.ids[1] != listener.ids[2]


async def test_a_receiver_that_asks_for_a_pause_has_it(
    open_telling: Open, spark_clock: ManualClock
) -> None:
    async with listening() as listener, open_telling(listener.url) as receiver:
        listener.answer = status(429, **{"Retry-After": "120"})
        await receiver.tell()
        spark_clock.advance(119)
        assert not await receiver.tell()
        spark_clock.advance(1)
        assert await receiver.tell()


async def test_what_is_never_taken_is_given_up_and_the_next_is_sent(
    open_telling: Open, spark_clock: ManualClock, outbox: Outbox
) -> None:
    async with (
        listening() as listener,
        open_telling(listener.url, webhook_give_up_s=12) as receiver,
    ):
        listener.answer = status(500)
        await receiver.tell()
        spark_clock.advance(5)
        await receiver.tell()  # the next try would be too late
        [letter] = await outbox.dead()
        assert (letter.kind, letter.attempts, letter.error) == ("lock_acquired", 2, "status 500")
        listener.answer = None
        await receiver.tell()
        await outbox.retry(letter.id)
        await receiver.tell()
    first, _, second, again = listener.ids
    assert first == again == letter.id != second


async def test_a_redirect_is_not_followed(open_telling: Open, outbox: Outbox) -> None:
    async with listening() as listener, open_telling(listener.url) as receiver:
        listener.answer = status(307, Location="/elsewhere")
        await receiver.tell()
    assert [path for path, _, _ in listener.got] == ["/hook?token=abc"]
    assert await outbox.counts() == {("r", "pending"): 2}


async def test_a_dead_receiver_is_not_taken_for_one_that_took_it(
    open_telling: Open, outbox: Outbox, spark_clock: ManualClock
) -> None:
    async with listening() as listener:
        url, port = listener.url, int(listener.url.split(":")[2].split("/")[0])
    async with open_telling(url) as receiver:
        await receiver.tell()
        assert await outbox.counts() == {("r", "pending"): 2}
        spark_clock.advance(5)
        async with listening(port=port) as again:
            await receiver.tell()
            assert len(again.got) == 1


async def test_a_slow_receiver_has_so_many_seconds(open_telling: Open, outbox: Outbox) -> None:
    async with (
        listening() as listener,
        open_telling(listener.url, webhook_timeout_s=0.1, webhook_give_up_s=0) as receiver,
    ):
        listener.answer = never
        await receiver.tell()
    assert [letter.error for letter in await outbox.dead()] == ["no answer within 0.1 s"]


async def test_an_answer_without_an_end_holds_nothing_up(
    open_telling: Open, outbox: Outbox
) -> None:
    """The status is all that is waited for."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        return await never(request)

    async with listening() as listener, open_telling(listener.url) as receiver:
        listener.answer = drip
        await receiver.tell()
    assert (await outbox.counts())["r", "delivered"] == 1


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    open_telling: Open, outbox: Outbox
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(SELF_SIGNED)
    async with (
        listening(tls) as listener,
        open_telling(listener.url, webhook_give_up_s=0) as receiver,
    ):
        await receiver.tell()
    assert listener.got == []
    assert [letter.error for letter in await outbox.dead()] == [
        "its certificate cannot be verified"
    ]


async def test_the_log_tells_who_and_why_and_no_address(
    open_telling: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as listener, open_telling(listener.url) as receiver:
        listener.answer = status(500)
        await receiver.tell()
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("spark_core")]
    assert "receiver r" in ours[0]
    assert "status 500" in ours[0]
    assert "abc" not in "".join(ours)


# ---------------------------------------------------------------------------------- the service


@asynccontextmanager
async def telling(
    outbox: Outbox, locks: Locks, clock: ManualClock, *hooks: dict[str, Any]
) -> AsyncIterator[None]:
    settings = CoordinationSettings.model_validate({"webhooks": list(hooks)})
    task = asyncio.create_task(tell_receivers(settings, outbox, clock, locks, None, None))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


LOCKS = ["lock_acquired", "lock_forced"]


async def test_item_4_one_that_never_answers_keeps_nobody_waiting(
    outbox: Outbox, locks: Locks, spark_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the others, and not what happens: the reservation itself knows nothing of receivers."""
    monkeypatch.setattr(telling_module, "LOOK", 0.01)
    await outbox.catch_up(LockSource(locks))
    async with listening() as hung, listening() as well:
        hung.answer = never
        hooks = [{"url": hung.url, "events": LOCKS}, {"url": well.url, "events": LOCKS}]
        async with telling(outbox, locks, spark_clock, *hooks):
            await locks.acquire("nightly", 600)
            await hung.until(1)
            await locks.force()
            await well.until(2)
            assert len(hung.got) == 1


async def test_whoever_takes_over_goes_on_where_it_was(
    outbox: Outbox, locks: Locks, spark_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends while the receiver has it; the same event is sent again, with its id."""
    monkeypatch.setattr(telling_module, "LOOK", 0.01)
    await outbox.catch_up(LockSource(locks))
    async with listening() as listener:
        hook = {"url": listener.url, "events": LOCKS}
        listener.answer = never
        async with telling(outbox, locks, spark_clock, hook):
            await locks.acquire("nightly", 600)
            await listener.until(1)
        listener.answer = None
        async with telling(outbox, locks, spark_clock, hook):
            await locks.force()
            await listener.until(3)
    first, again, second = listener.ids
    assert first == again != second


async def test_a_receiver_whose_address_is_nonsense_is_in_nobodys_way(
    outbox: Outbox, locks: Locks, spark_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling_module, "LOOK", 0.01)
    await outbox.catch_up(LockSource(locks))
    async with listening() as well:
        hooks = [{"url": "http://1.2.3.999/", "events": LOCKS}, {"url": well.url, "events": LOCKS}]
        async with telling(outbox, locks, spark_clock, *hooks):
            await locks.acquire("nightly", 600)
            await well.until(1)
