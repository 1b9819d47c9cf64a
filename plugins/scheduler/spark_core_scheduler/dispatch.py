"""Starting runs when their time comes, for as long as this scheduler leads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from spark_core.clock import Clock
from spark_core.errors import LeaseLost, SparkError
from spark_core.schedules import Every, due, following, missed
from spark_core.state import Lease

from .book import Book, Ended, Entry, Fire, Run, RunState
from .current import Current, current
from .jobs import Planned
from .settings import SchedulerSettings
from .stepwise import Stepwise

__all__ = ["Dispatcher", "fire_of", "next_at"]

#: Seconds between two looks into the book, where nothing is due sooner.
LOOK: Final = 1.0

#: How often old runs are looked for.
TIDY: Final = timedelta(hours=1)

log = logging.getLogger(__name__)

Do = Callable[[Planned, Run], Coroutine[Any, Any, Ended]]


def fire_of(job: Planned, entry: Entry, now: datetime) -> Fire | None:
    """The fire time of *job* that has come and is not done; None if there is none.

    First comes what was begun and has not ended, then what somebody asked for, both also while it
    rests; then the newest time of the schedule. What has no last run counts from when it was
    first seen, but an interval begins at once.
    """
    if entry.pending_at is not None:
        return Fire(job.name, entry.pending_at, entry.pending_missed)
    if entry.requested_at is not None:
        return Fire(job.name, entry.requested_at)
    if entry.paused_at is not None:
        return None
    if isinstance(job.times, Every) and entry.last_at is None:
        return Fire(job.name, now)
    last = _last(entry)
    at = due(job.times, last, now, job.zone)
    return None if at is None else Fire(job.name, at, missed(job.times, last, at, job.zone))


def next_at(job: Planned, entry: Entry, now: datetime) -> datetime | None:
    """When *job* is run next; None while it rests."""
    if (fire := fire_of(job, entry, now)) is not None:
        return fire.at
    if entry.paused_at is not None:
        return None
    return following(job.times, _last(entry), job.zone)


def _last(entry: Entry) -> datetime:
    """From when on fire times count: a schedule that was changed makes nothing up."""
    return max(entry.since, entry.last_at or entry.since)


class Dispatcher:
    """Runs jobs under a lease: each look starts all that is due and not in flight.

    What there is to do follows from the book and the clock alone, so a look that comes late
    leaves nothing out, and one too many does no harm. *may* says whether the lease still lasts.
    """

    def __init__(
        self,
        jobs: Mapping[str, Planned],
        book: Book,
        lease: Lease,
        clock: Clock,
        do: Do,
        settings: SchedulerSettings,
        may: Callable[[], bool] = lambda: True,
    ) -> None:
        self._jobs = jobs
        self._book = book
        self._lease = lease
        self._clock = clock
        self._do = do
        self._settings = settings
        self._may = may
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._tidied: datetime | None = None
        self.running: dict[str, asyncio.Task[None]] = {}

    async def run(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Lead until *stop*; then begin nothing more, and wait for what is running.

        *beat* is called with each look. What still runs when the time to wait is over, or when
        the lease is lost, is cancelled.
        """
        self._stop = stop
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        try:
            await self._book.take_over(self._lease, self._jobs.values())
            while not stop.is_set():
                self._wake.clear()
                pause = await self._look_again()
                beat()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
            await self._drain()
        finally:
            stopping.cancel()
            await self._cancel()

    async def _look_again(self) -> float:
        """Look; where the state is away, that is all that is lost."""
        try:
            await self._tidy()
            return await self.look()
        except LeaseLost:
            raise
        except SparkError as error:
            log.warning("jobs are late: %s", error.code)
            return LOOK

    async def _tidy(self) -> None:
        """Forget old runs, once an hour."""
        now = self._clock.now()
        if self._tidied is None or now - self._tidied >= TIDY:
            await self._book.forget(timedelta(days=self._settings.keep_days))
            self._tidied = now

    async def look(self) -> float:
        """Start what is due; gives the seconds until something may be."""
        # Of a run that ends while the book is read, the book may not tell yet: not this time.
        busy = set(self.running)
        entries, now = await self._book.entries(), self._clock.now()
        free = [job for name, job in self._jobs.items() if name not in busy]
        known = [(job, entries[job.name]) for job in free if job.name in entries]
        fires = [fire for job, entry in known if (fire := fire_of(job, entry, now)) is not None]
        if fires and not self._stop.is_set():
            for run in await self._book.begin(self._lease, fires):
                self._start(run)
        taken = {fire.job for fire in fires}
        nexts = [next_at(job, entry, now) for job, entry in known if job.name not in taken]
        soonest = min((at for at in nexts if at is not None), default=now + timedelta(seconds=LOOK))
        return min(LOOK, max(0.0, (soonest - self._clock.now()).total_seconds()))

    def _start(self, run: Run) -> None:
        task = asyncio.create_task(self._run(run), name=f"job {run.job}")
        self.running[run.job] = task

        def ended(done: asyncio.Task[None]) -> None:
            del self.running[run.job]
            self._wake.set()
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("a run of job %s cannot be ended: %s", run.job, type(error).__name__)

        task.add_done_callback(ended)

    async def _run(self, run: Run) -> None:
        """Do the work and write down how it ended, which the state may be away for."""
        current.set(Current(run, self._lease))
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            ended = await self._done(run)
        except asyncio.CancelledError:
            ended = Ended(RunState.INTERRUPTED, "the scheduler was stopped")
            with suppress(SparkError):
                await self._book.end(self._lease, run, ended, loop.time() - began)
            raise
        seconds = loop.time() - began
        if ended.state not in (RunState.OK, RunState.SKIPPED):
            log.warning("job %s: %s, %s", run.job, ended.state, ended.outcome)
        await self._write(run, ended, seconds)

    async def _done(self, run: Run) -> Ended:
        """Do the work. What says that it was cancelled, although nobody did that, has failed."""
        task = asyncio.current_task()
        assert task is not None
        try:
            return await Stepwise(self._do(self._jobs[run.job], run), self._may)
        except asyncio.CancelledError:
            if task.cancelling() or not self._may():
                raise
            return Ended(RunState.FAILED, "failed: CancelledError")

    async def _write(self, run: Run, ended: Ended, seconds: float) -> None:
        while True:
            try:
                return await self._book.end(self._lease, run, ended, seconds)
            except LeaseLost:
                return  # whoever leads now runs it again
            except SparkError as error:
                log.warning("the end of a run of job %s is not written: %s", run.job, error.code)
            await asyncio.sleep(LOOK)

    async def _drain(self) -> None:
        """Wait for what is running, as long as a stop may take."""
        if self.running and self._settings.drain_s:
            await asyncio.wait(self.running.values(), timeout=self._settings.drain_s)

    async def _cancel(self) -> None:
        tasks = list(self.running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
