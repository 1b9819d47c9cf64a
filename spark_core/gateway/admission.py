"""Admission: who may go to a backend now, and who waits, for all processes of a host together.

A *pool* is what shares one limit: a backend, or several that share one GPU. Where a pool is
full, requests wait in an order that is fair to callers, over all pools that share a limit:
see :mod:`.turns`. Somebody who comes with one request goes ahead of the two hundred that
somebody else left waiting.

The door of a pool can be *closed* for a time, so that what is behind it can be changed: nobody
is let in, what is in flight there ends, and who comes waits in line or is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..errors import NotFound, Unavailable
from .doors import Door, Met, ones
from .table import Sighting, Sightings, Table, Waiting
from .tickets import Priority, Ticket
from .turns import in_turn, newcomer, served

__all__ = ["Admission", "Busy", "Pool", "PoolState", "Priority", "Slot", "Ticket", "open_admission"]

#: Seconds between looks for processes that died, while somebody waits.
REAP_SECONDS: Final = 0.5

#: The weight of the newest request in the seconds that a request is expected to take.
SMOOTHING: Final = 0.2

#: Seconds between looks whether a pool is empty.
DRAIN_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Pool:
    """What shares one limit: ``limit`` in flight, and ``queue`` waiting in each priority.

    ``within`` names a wider pool that must have room too.
    """

    name: str
    limit: int
    queue: int = 256
    within: str | None = None


@dataclass(frozen=True, slots=True)
class PoolState:
    """What goes on in a pool, over all processes.

    ``seconds`` is what a request takes; ``full`` says that the next one has to wait, and
    ``closed`` that it does so because a door is closed: its own, or that of a wider pool.
    """

    name: str
    limit: int
    in_flight: int
    waiting: int
    seconds: float
    full: bool
    closed: bool = False
    door: Door = Door()  # noqa: RUF009 (it cannot change)


class Busy(Unavailable):
    """There was no room in time. ``position`` counts from 1; ``expected_s`` is seconds."""

    def __init__(self, message: str, *, position: int, expected_s: float) -> None:
        super().__init__(message, retry_after=max(1.0, math.ceil(expected_s)))
        self.position = position
        self.expected_s = expected_s


class Slot:
    """Room for one request in the pool called ``name``; ``queued_s`` is how long it waited."""

    __slots__ = ("_admission", "_index", "name", "queued_s", "since")

    def __init__(self, admission: Admission, index: int, name: str, queued_s: float) -> None:
        self._admission: Admission | None = admission
        self._index = index
        self.name = name
        self.queued_s = queued_s
        self.since = time.monotonic()

    @property
    def held(self) -> bool:
        """Whether it was not released yet."""
        return self._admission is not None

    def release(self) -> None:
        """Let the next one go ahead; after the first time, nothing happens."""
        if self._admission is not None:
            admission, self._admission = self._admission, None
            admission.give_back(self._index, time.monotonic() - self.since)

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Admission:
    """The door to *pools*, shared with every process that opened the same directory."""

    def __init__(
        self, table: Table, pools: Iterable[Pool], now: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._now = now
        with table:
            self._pools = {table.pool(pool.name): pool for pool in pools}
        self._index = {pool.name: index for index, pool in self._pools.items()}
        self._within = {index: self._chain(index) for index in self._pools}
        self._outer = {index: chain[-1] for index, chain in self._within.items()}
        self._waiters: dict[int, asyncio.Future[int]] = {}
        self._reaped = 0.0

    def _chain(self, index: int) -> tuple[int, ...]:
        """The pool at *index* and those it is within."""
        outer = self._pools[index].within
        return (index, *self._chain(self._index[outer])) if outer else (index,)

    # ---------------------------------------------------------------------------- going ahead

    def try_admit(self, names: Sequence[str]) -> Slot | None:
        """Room in the emptiest of the pools called *names*, if nobody waits anywhere."""
        table = self._table
        with table:
            if table.anybody_waits:
                return None
            index = self._emptiest([self._index[name] for name in names])
            if index is None:
                return None
            self._count(index, table.member, 1)
        return self._slot(index, 0.0)

    async def admit(
        self,
        names: Sequence[str],
        *,
        caller: str = "",
        priority: Priority = Priority.INTERACTIVE,
        wait_s: float = 60.0,
    ) -> Slot:
        """Wait up to *wait_s* seconds for room in any of the pools called *names*.

        :raises Busy: too many wait already, or the time is up.
        """
        if (slot := self.try_admit(names)) is not None:
            return slot
        began = time.monotonic()
        entry = self._queue(names, caller, priority)
        future = self._waiters[entry.number] = asyncio.get_running_loop().create_future()
        try:
            self._advance()
            index = await self._granted(future, wait_s)
        except TimeoutError:
            busy = self._busy(names, "there was no room in time", entry)
            self._give_up(entry, future)
            raise busy from None
        except BaseException:
            self._give_up(entry, future)
            raise
        finally:
            del self._waiters[entry.number]
        return self._slot(index, time.monotonic() - began)

    def _slot(self, index: int, queued_s: float) -> Slot:
        return Slot(self, index, self._pools[index].name, queued_s)

    async def _granted(self, future: asyncio.Future[int], wait_s: float) -> int:
        """What *future* brings; meanwhile, what the dead held is given back."""
        async with asyncio.timeout(wait_s):
            while not future.done():
                self._reap()
                opening = self._table.doors.next_opening() - self._now()
                await asyncio.wait([future], timeout=max(min(opening, REAP_SECONDS), 0.0))
            return future.result()

    def _reap(self) -> None:
        """However many wait here, look only now and then; and when a door opens by itself."""
        if self._table.doors.next_opening() <= self._now():
            self._advance()
        if (now := time.monotonic()) < self._reaped + REAP_SECONDS / 2:
            return
        self._reaped = now
        with self._table:
            self._table.reap()
        self._advance()

    def give_back(self, index: int, seconds: float) -> None:
        """A request in the pool at *index* ended, *seconds* after it was let in."""
        table = self._table
        with table:
            self._count(index, table.member, -1)
            usual = table.seconds(index)
            table.set_seconds(index, usual + SMOOTHING * (seconds - usual) if usual else seconds)
            somebody = table.anybody_waits
        if somebody:
            self._advance()

    def _emptiest(self, indices: Sequence[int]) -> int | None:
        """Of the pools at *indices*, the one with the least work for its limit, if it has room."""
        if len(indices) > 1:
            indices = sorted(indices, key=lambda i: self._table.in_flight(i) / self._pools[i].limit)
        return next((index for index in indices if self._has_room(index)), None)

    def _has_room(self, index: int) -> bool:
        """In the pool at *index*, and in those it is within."""
        table, pools = self._table, self._pools
        if table.doors.bits and self._shut([index]):
            return False
        return all(table.in_flight(i) < pools[i].limit for i in self._within[index])

    def _count(self, index: int, member: int, count: int) -> None:
        for each in self._within[index]:
            self._table.add(each, member, count)

    # -------------------------------------------------------------------------------- waiting

    def _queue(self, names: Sequence[str], caller: str, priority: Priority) -> Waiting:
        """Get in line."""
        indices = [self._index[name] for name in names]
        pools = sum(1 << index for index in indices)
        who = int.from_bytes(hashlib.blake2b(caller.encode(), digest_size=8).digest(), "little")
        table = self._table
        with table:
            line = table.waiting()
            entry = table.newcomer(priority, pools, who, newcomer(table.grants), self._now())
            if entry is not None:
                entry = replace(entry, turn=max(w.turn for w in (*self._own(entry, line), entry)))
            ahead = sum(w.priority == priority for w in line if w.pools & pools)
            room = sum(self._pools[index].queue for index in indices)
            if entry is not None and ahead < room and not self._refuses(indices):
                table.queue(entry)
                return entry
            table.doors.count(self._shut(indices), Met.REFUSED)
        raise self._busy(names, "the queue is full", entry)

    def _shared(self, pools: int) -> int:
        """The limits, one bit each, that those who wait for *pools* compete for."""
        shared = 0
        for index in ones(pools):
            shared |= 1 << self._outer.get(index, index)  # another process may have more pools
        return shared

    def _own(self, entry: Waiting, line: Iterable[Waiting]) -> list[Waiting]:
        """Those of *line* that take turns with *entry*."""
        same = [w for w in line if (w.caller, w.priority) == (entry.caller, entry.priority)]
        return [w for w in same if self._shared(w.pools) & self._shared(entry.pools)]

    def _advance(self) -> None:
        """Let go ahead whoever is next, while there is room; tell those of other processes."""
        table = self._table
        others = set()
        with table:
            table.doors.lapse(self._now())
            room, line = self._room(), table.waiting()
            for entry in in_turn((w for w in line if w.pools & room), self._shared):
                index = self._emptiest([i for i in ones(entry.pools & room) if i in self._pools])
                if index is not None:
                    self._grant(entry, index, line)
                    others.add(entry.member)
                    room = self._room()
            self._take_notice()
        for member in others - {table.member}:
            table.wake(member)

    def _room(self) -> int:
        """The pools that have room, one bit each."""
        return sum(1 << index for index in self._pools if self._has_room(index))

    def _grant(self, entry: Waiting, index: int, line: Iterable[Waiting]) -> None:
        turn = served(self._table.grant(entry, index))
        self._count(index, entry.member, 1)
        for other in self._own(entry, line):
            if other is not entry:
                self._table.set_turn(other, turn)

    def notice(self) -> None:
        """Another process woke this one: hand out what it granted."""
        with suppress(BlockingIOError):
            os.read(self._table.pipe, 65536)
        with self._table:
            self._take_notice()

    def _take_notice(self) -> None:
        doors, now = self._table.doors, self._now()
        for number, index, since in self._table.granted():
            future = self._waiters.get(number)
            if future is None or future.done():  # it left in the meantime
                self._count(index, self._table.member, -1)
                continue
            future.set_result(index)
            waited = (i for i in self._within[index] if since < doors.closed_until(i) <= now)
            doors.count(waited, Met.QUEUED)

    def _give_up(self, entry: Waiting, future: asyncio.Future[int]) -> None:
        """Wait no more. What was granted in the meantime goes to somebody else."""
        with self._table:
            self._take_notice()
            if future.done():
                self._count(future.result(), self._table.member, -1)
            else:
                future.cancel()
                self._table.free(entry.place)
                self._table.doors.count(self._shut(ones(entry.pools)), Met.REFUSED)
        self._advance()

    # ---------------------------------------------------------------------------------- doors

    def close(self, name: str, until: float, expected: float = 0.0, refuse: bool = False) -> None:
        """Let nobody into the pool called *name* before the time *until*, in any process.

        Said again, it holds until then instead: who closes a door for long says it now and then,
        so that it opens by itself if they die. *expected* is when they think to be done. Those
        who come wait in line, or are refused at once. Times are in seconds since 1970.

        :raises NotFound: there is no such pool.
        """
        with self._table:
            self._table.doors.close(self._find(name), until, expected, refuse)

    def open(self, name: str) -> None:
        """Let requests into the pool called *name* again, those that wait first.

        :raises NotFound: there is no such pool.
        """
        with self._table:
            self._table.doors.open(self._find(name), self._now())
        self._advance()

    def door(self, name: str) -> Door:
        """The door of the pool called *name*.

        :raises NotFound: there is no such pool.
        """
        return self._table.doors.door(self._find(name))

    def in_flight(self, name: str) -> int:
        """How many requests are in flight in the pool called *name*, in all processes.

        :raises NotFound: there is no such pool.
        """
        with self._table:
            return self._table.in_flight(self._find(name))

    async def drained(self, name: str, wait_s: float) -> bool:
        """Wait until nothing is in flight in the pool called *name*; False where something is
        after *wait_s* seconds.

        :raises NotFound: there is no such pool.
        """
        end = time.monotonic() + wait_s
        while self.in_flight(name):
            if time.monotonic() >= end:
                return False
            self._reap()
            await asyncio.sleep(DRAIN_SECONDS)
        return True

    def lost(self, name: str) -> None:
        """A request that was let into the pool called *name* failed there."""
        if self._table.doors.bits:
            with self._table:
                self._table.doors.count(self._shut([self._index[name]]), Met.ABORTED)

    @property
    def generation(self) -> int:
        """A number that grows whenever the models of any backend change, in all processes."""
        return self._table.doors.generation

    def generation_of(self, name: str) -> int:
        """How often the models of the backend called *name* changed."""
        return self._table.doors.generation_of(self._index[name])

    def changed(self, name: str) -> None:
        """The models of the backend called *name* are others now.

        :raises NotFound: there is no such backend.
        """
        with self._table:
            self._table.doors.changed(self._find(name))

    def _find(self, name: str) -> int:
        if name not in self._index:
            raise NotFound(f"no backend is called {name!r}")
        return self._index[name]

    def _shut(self, indices: Iterable[int]) -> set[int]:
        """The pools at *indices*, and those they are within, whose doors are closed."""
        doors, now = self._table.doors, self._now()
        return {i for index in indices for i in self._within[index] if doors.shut(i, now)}

    def _refuses(self, indices: Iterable[int]) -> bool:
        """Whether all pools at *indices* are closed to whoever does not wait already."""
        doors = self._table.doors
        return all(any(doors.refuses(i) for i in self._shut([index])) for index in indices)

    def _opens_in(self, names: Iterable[str]) -> float:
        """Seconds until one of the pools called *names* is expected to open; 0 if one is open."""
        doors, now = self._table.doors, self._now()
        with self._table:
            shut = [self._shut([self._index[name]]) for name in names]
            opens = (max((doors.door(i).expected for i in each), default=now) for each in shut)
            return max(min(opens) - now, 0.0)

    # ------------------------------------------------------------------------------ what it is

    def saw(self, name: str, what: Sighting) -> None:
        """Note that *what* was seen just now of the backend called *name*."""
        self._table.saw(self._index[name], what, time.time())

    def sightings(self, name: str) -> Sightings:
        """What all processes saw of the backend called *name*."""
        return self._table.sightings(self._index[name])

    def _busy(self, names: Sequence[str], why: str, entry: Waiting | None) -> Busy:
        """What is told to *entry*, which waits, or would if there was a place."""
        table, shared = self._table, self._shared(sum(1 << self._index[name] for name in names))
        with table:
            line = [w for w in table.waiting() if self._shared(w.pools) & shared]
        if entry is not None:
            line = [w for w in line if w.number != entry.number] + [entry]
            line = in_turn(line, self._shared)
            line = line[: 1 + [w.number for w in line].index(entry.number)]
        work = sum(max(table.seconds(i) for i in ones(w.pools)) for w in line)
        expected = work / sum(self._places(index) for index in ones(shared)) or 1.0
        if closed := self._opens_in(names):
            why = "closed for now"
            expected += closed
        position = max(len(line), 1)
        return Busy(
            f"{' and '.join(names)} busy: {why} (position {position}, about {expected:.0f} s)",
            position=position,
            expected_s=expected,
        )

    def _places(self, outer: int) -> int:
        """How many requests the pool at *outer* and those within it work on at once."""
        limits = [p.limit for p in self._pools.values() if p.within == self._pools[outer].name]
        return min([self._pools[outer].limit, *([sum(limits)] if limits else [])])

    def states(self) -> list[PoolState]:
        """Each pool, as it is now."""
        table = self._table
        with table:
            line = table.waiting()
            return [
                PoolState(
                    name=pool.name,
                    limit=pool.limit,
                    in_flight=table.in_flight(index),
                    waiting=sum(w.pools >> index & 1 for w in line),
                    seconds=table.seconds(index),
                    full=not self._has_room(index),
                    closed=bool(self._shut([index])),
                    door=table.doors.door(index),
                )
                for index, pool in self._pools.items()
            ]


@asynccontextmanager
async def open_admission(
    directory: Path, pools: Iterable[Pool], now: Callable[[], float] = time.time
) -> AsyncIterator[Admission]:
    """Share *pools* with every process that opens the same *directory*.

    *now* tells the time, in seconds since 1970.
    """
    table = Table(directory)
    loop = asyncio.get_running_loop()
    try:
        admission = Admission(table, pools, now)
        loop.add_reader(table.pipe, admission.notice)
        try:
            yield admission
        finally:
            loop.remove_reader(table.pipe)
    finally:
        table.close()
