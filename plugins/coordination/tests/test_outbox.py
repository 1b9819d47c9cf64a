"""Each event is in the outbox once, whoever is killed and however many look."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

import pytest
from spark_core_coordination.locks import Locks
from spark_core_coordination.outbox import Outbox
from spark_core_coordination.settings import EventKind, Webhook
from spark_core_coordination.sources import (
    Happening,
    LockSource,
    OutageSource,
    Source,
    SwapSource,
)

from spark_core.errors import NotFound
from spark_core.gateway.outages import OutageLog
from spark_core.state import Leases, State
from spark_core.swaps.history import SwapHistory
from spark_core.swaps.models import Failure, Outcome, Swap
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The process ends here."""


def webhook(name: str = "r", *events: EventKind) -> Webhook:
    return Webhook.model_validate(
        {"name": name, "url": "https://x/", "events": events or list(EventKind)}
    )


async def told(outbox: Outbox, name: str = "r") -> list[str]:
    """What is on its way to a receiver, in order; it takes it."""
    kinds = []
    while delivery := await outbox.next(name):
        kinds.append(delivery.kind)
        await outbox.delivered(delivery)
    return kinds


@pytest.fixture
async def source(outbox: Outbox, locks: Locks) -> Source:
    """Reservations, from now on."""
    await outbox.catch_up(source := LockSource(locks))
    return source


async def test_what_happens_to_a_reservation_is_told_in_order(
    outbox: Outbox, locks: Locks, source: Source, spark_clock: ManualClock
) -> None:
    _, token = await locks.acquire("a", 60)
    await locks.release(token)
    await locks.acquire("b", 60)
    await locks.force()
    await locks.acquire("c", 60)
    spark_clock.advance(60)  # nobody else looks at the lock
    await outbox.collect(source, [webhook()])
    assert await told(outbox) == [
        "lock_acquired", "lock_released", "lock_acquired", "lock_forced",
        "lock_acquired", "lock_expired",
    ]  # fmt: skip


async def test_a_receiver_is_told_what_it_asked_for(
    outbox: Outbox, locks: Locks, source: Source
) -> None:
    await locks.acquire("a", 60)
    await locks.force()
    await outbox.collect(source, [webhook("r", EventKind.LOCK_FORCED), webhook("all")])
    assert await told(outbox, "r") == ["lock_forced"]
    assert await told(outbox, "all") == ["lock_acquired", "lock_forced"]


async def test_no_event_holds_a_token(outbox: Outbox, locks: Locks, source: Source) -> None:
    _, token = await locks.acquire("a", 60)
    await outbox.collect(source, [webhook()])
    delivery = await outbox.next("r")
    assert delivery is not None
    assert token not in repr(delivery)
    assert not {"token", "digest"} & delivery.data.keys()


async def test_of_what_was_before_the_first_look_the_newest_is_told(
    outbox: Outbox, locks: Locks, spark_clock: ManualClock
) -> None:
    """Somebody may reserve while the server is still starting for the first time."""
    await locks.acquire("a", 60)
    spark_clock.advance(3600)
    await locks.acquire("b", 60)
    await outbox.catch_up(LockSource(locks), [webhook()])
    assert await told(outbox) == ["lock_acquired"]


async def test_what_was_while_there_was_no_receiver_is_told_to_nobody(
    outbox: Outbox, locks: Locks, source: Source, spark_clock: ManualClock
) -> None:
    await outbox.forget()
    await locks.acquire("a", 60)
    spark_clock.advance(3600)
    await outbox.catch_up(source, [webhook()])
    await outbox.collect(source, [webhook()])
    assert await told(outbox) == []


async def test_many_who_look_at_once_take_it_in_once(
    state: State, state_url: str, locks: Locks, source: Source, spark_clock: ManualClock
) -> None:
    async with State.open(state_url) as other:
        both = [Outbox(state, spark_clock), Outbox(other, spark_clock)]
        await locks.acquire("a", 60)
        await locks.force()
        await asyncio.gather(*(both[n % 2].collect(source, [webhook()]) for n in range(8)))
        assert await told(both[0]) == ["lock_acquired", "lock_forced"]


async def test_who_looked_too_long_ago_does_not_take_the_reading_back(outbox: Outbox) -> None:
    """Another process went on, while this one was still reading."""

    class Counting:
        name = "counting"
        positions: ClassVar = ["1", "2"]

        async def read(self, position: str | None) -> tuple[Sequence[Happening], str]:
            mine = self.positions.pop(0)
            if self.positions:
                await outbox.collect(self, [])
            return [], mine

    await outbox.collect(source := Counting(), [])
    assert await outbox._position(source) == "2"


async def test_who_is_killed_while_it_takes_in_leaves_nothing_half_done(
    outbox: Outbox, locks: Locks, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    await locks.acquire("a", 60)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_tidy", die)
        with pytest.raises(Killed):
            await outbox.collect(source, [webhook()])
    assert await told(outbox) == []
    await outbox.collect(source, [webhook()])
    await outbox.collect(source, [webhook()])
    assert await told(outbox) == ["lock_acquired"]


async def test_what_is_over_is_forgotten_after_a_month(
    outbox: Outbox, locks: Locks, source: Source, state: State, spark_clock: ManualClock
) -> None:
    await locks.acquire("a", 60)
    await locks.force()
    await outbox.collect(source, [webhook()])
    first = await outbox.next("r")
    assert first is not None
    await outbox.delivered(first)
    spark_clock.advance(31 * 86400)
    await locks.acquire("b", 60)
    await outbox.collect(source, [webhook()])
    assert await outbox.counts() == {("r", "pending"): 2}  # one of them as old
    await outbox.collect(source, [webhook()])
    assert await told(outbox) == ["lock_forced", "lock_acquired"]


# ------------------------------------------------------------------------------------- outages


async def test_outages_are_told_when_they_begin_and_when_they_end_each_once(
    outbox: Outbox, state: State, spark_clock: ManualClock
) -> None:
    log = OutageLog(state, spark_clock)
    await log.begin("before", spark_clock.now(), "probe")
    await outbox.catch_up(source := OutageSource(log, spark_clock))
    counted: Counter[str] = Counter()
    for minute in range(60):
        spark_clock.advance(60)
        if minute == 5:
            await log.begin("chat", spark_clock.now() - timedelta(seconds=2), "request")
        if minute == 42:
            await log.end("chat", spark_clock.now())
        await outbox.collect(source, [webhook()])
        assert not await outbox.collect(source, [webhook()])  # or it would look without a pause
        counted.update(await told(outbox))
    assert counted == {"outage_began": 1, "outage_ended": 1}


async def test_an_outage_while_nothing_ran_is_told_afterwards(
    outbox: Outbox, state: State, spark_clock: ManualClock
) -> None:
    log = OutageLog(state, spark_clock)
    await outbox.catch_up(source := OutageSource(log, spark_clock))
    spark_clock.advance(3600)
    await log.begin("chat", spark_clock.now(), "probe")
    spark_clock.advance(3600)
    await outbox.collect(source, [webhook()])
    assert await told(outbox) == ["outage_began"]


# --------------------------------------------------------------------------------------- swaps


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.READY, "swap_complete"),
        (Outcome.ROLLED_BACK, "swap_rolled_back"),
        (Outcome.FAILED, "swap_failed"),
        (Outcome.HALTED, "swap_failed"),
        (Outcome.REFUSED, "swap_failed"),
        (Outcome.CANCELLED, "swap_failed"),
    ],
)
async def test_item_4_a_swap_is_told_once_when_it_ended(
    outbox: Outbox, state: State, spark_clock: ManualClock, outcome: Outcome, kind: str
) -> None:
    leases = Leases(state, spark_clock)
    history = SwapHistory(state, leases, spark_clock)
    await outbox.catch_up(source := SwapSource(history))
    lease = await leases.acquire("swap:spark", 60)
    now = spark_clock.now()
    swap = Swap(id="s1", host="spark", model="big", reason="evening", created_at=now)
    await history.admit(swap)
    await outbox.collect(source, [webhook()])
    assert await told(outbox) == []
    if outcome is not Outcome.READY:
        swap.failure = Failure(code="no-memory", message="it does not fit", evidence={"free": 1})
    await history.end(swap, outcome, lease)
    await outbox.collect(source, [webhook()])
    delivery = await outbox.next("r")
    assert delivery is not None
    failed = {"code": "no-memory", "message": "it does not fit"}
    assert delivery.data == {
        "swap": "s1",
        "model": "big",
        "previous": None,
        "serving": None,
        "state": outcome.value,
        "reason": "evening",
        "error": None if outcome is Outcome.READY else failed,
        "started_at": "2030-01-01T00:00:00+00:00",
        "ended_at": "2030-01-01T00:00:00+00:00",
    }
    assert await told(outbox) == [kind]
    await outbox.collect(source, [webhook()])
    assert await told(outbox) == []


# -------------------------------------------------------------------------------------- the dead


async def test_what_was_given_up_can_be_sent_again_or_dropped(
    outbox: Outbox, locks: Locks, source: Source
) -> None:
    await locks.acquire("a", 60)
    await locks.force()
    await outbox.collect(source, [webhook()])
    while delivery := await outbox.next("r"):
        await outbox.give_up(delivery, "status 500")
    first, second = await outbox.dead()
    assert (first.error, first.attempts) == ("status 500", 1)
    await outbox.retry(first.id)
    await outbox.drop(second.id)
    assert await outbox.dead() == []
    again = await outbox.next("r")
    assert again is not None
    assert again.id == first.id
    for gone in (first.id, second.id, "msg_x"):
        with pytest.raises(NotFound):
            await outbox.retry(gone)
        with pytest.raises(NotFound):
            await outbox.drop(gone)


async def test_what_is_for_a_receiver_that_is_gone_is_given_up(
    outbox: Outbox, locks: Locks, source: Source
) -> None:
    await locks.acquire("a", 60)
    await outbox.collect(source, [webhook("old"), webhook("new")])
    await outbox.give_up_others(["new"])
    assert [letter.receiver for letter in await outbox.dead()] == ["old"]
    assert await told(outbox, "new") == ["lock_acquired"]
