"""Runs one processor over the files that are new to it, for as long as it may take.

It holds the processor's lease, so that it runs once over all workers and hosts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from spark_core import Spark
from spark_core.clock import Clock
from spark_core.contracts.sessions import SessionChanged, SessionProcessor
from spark_core.errors import Conflict, LeaseHeld, SourceError
from spark_core.state import Lease, Leases

from .files import Found, Prepared, inode_of, prepare, scan
from .isolation import Failed, Isolated, Postponed, isolated
from .runs import Runs
from .settings import SessionsSettings
from .states import FileState, SessionStates

__all__ = ["FileError", "Runner", "Statistics"]

#: Seconds for which a lease is held without being renewed.
TTL = 30.0

log = logging.getLogger(__name__)


class FileError(BaseModel, defer_build=True):
    """A file that a processor failed with."""

    session_file: str
    error: str
    failures: int = Field(description="How often it failed with it, one after the other.")
    next_try_at: str


class Statistics(BaseModel, defer_build=True):
    """What a run did."""

    processor: str
    scanned: int = Field(default=0, description="Files that are new, or not as they were.")
    processed: int = 0
    skipped: int = Field(default=0, description="Of these, those in which nothing was new.")
    errors: int = 0
    items_extracted: int = 0
    errors_detail: list[FileError] = []
    quarantined: int = Field(
        default=0, description="Files that failed, and wait to be tried again."
    )
    remaining: int = Field(default=0, description="Files that are left for the next run.")

    @property
    def counts(self) -> Mapping[str, int]:
        """What the audit and the history hold of it."""
        names = ("scanned", "processed", "skipped", "errors", "items_extracted", "remaining")
        return {name: getattr(self, name) for name in names}


@dataclass
class Runner:
    """Runs processors."""

    spark: Spark
    states: SessionStates
    runs: Runs
    leases: Leases
    clock: Clock
    settings: SessionsSettings

    async def run(self, processor: SessionProcessor) -> Statistics:
        """Run *processor* once.

        :raises Conflict: it is already running, somewhere.
        :raises SourceError: the folder of the files cannot be read.
        """
        try:
            async with self.leases.hold(f"session-processor:{processor.name}", TTL) as lease:
                started_at = self.clock.now()
                statistics = await self._run(processor, lease)
                await self.runs.note(started_at, statistics.processor, statistics.counts)
                return statistics
        except LeaseHeld as error:
            raise Conflict(f"{processor.name} is already running: {error.message}") from None

    async def _run(self, processor: SessionProcessor, lease: Lease) -> Statistics:
        memory = self.settings.memory_limit
        async with isolated(self.spark, processor.name, memory) as child:
            known = dict(await self.states.of(processor.name))
            files = await _scanned(self.settings)
            run = _Run(self, processor, lease, child, known, {file.key for file in files})
            await run.over(
                [f for f in files if f.key not in known or known[f.key].stamp != f.stamp]
            )
            return run.statistics


async def _scanned(settings: SessionsSettings) -> list[Found]:
    try:
        return await asyncio.to_thread(scan, settings.directory)
    except OSError as error:
        raise SourceError(f"{settings.directory} cannot be read: {error.strerror}") from error


@dataclass
class _Run:
    """One run, and what came of it so far."""

    runner: Runner
    processor: SessionProcessor
    lease: Lease
    child: Isolated
    known: dict[str, FileState]
    there: set[str]
    given: int = 0
    statistics: Statistics = field(init=False)

    def __post_init__(self) -> None:
        self.statistics = Statistics(processor=self.processor.name)
        self._gone = self.known.keys() - self.there
        self._inodes = {inode_of(state.stamp): key for key, state in self.known.items()}

    def _before(self, file: Found) -> Mapping[str, FileState]:
        """What *file*, which nobody knows, may have been before: by key, what was known of it.

        That is every file that is gone, and the one that had its inode if another has come in
        that one's place.
        """
        if file.key in self.known:
            return {}
        keys = set(self._gone)
        if (same := self._inodes.get(inode_of(file.stamp))) is not None:
            keys.add(same)
        return {key: self.known[key] for key in keys if key in self.known}

    def _may_be_moved(self, file: Found) -> bool:
        is_new = file.key not in self.known
        return is_new and (bool(self._gone) or inode_of(file.stamp) in self._inodes)

    async def over(self, files: list[Found]) -> None:
        """Do *files*, until there are no more, or no more time, or as many as may be."""
        failures = await self.runner.states.failures(self.processor.name)
        now = self.runner.clock.now()
        waiting = {key for key, failure in failures.items() if failure.next_try_at > now}
        ready = [file for file in files if file.key not in waiting]
        # What was moved comes before what is now in its place.
        ready.sort(key=lambda file: not self._may_be_moved(file))
        self.statistics.scanned = len(files)
        self.statistics.quarantined = len(files) - len(ready)
        self.statistics.remaining = len(ready)
        try:
            async with asyncio.timeout(self.processor.timeout) as limit:
                for file in ready:
                    if not self._has_room(limit):
                        break
                    await self._do(file)
                    self.statistics.remaining -= 1
        except TimeoutError:
            if not limit.expired():
                raise
            log.warning("session processor %s is out of time", self.processor.name)

    def _has_room(self, limit: asyncio.Timeout) -> bool:
        """Whether one more file may be given to it, and has all of its time until *limit*.

        The first one has it in any case: one that hangs must come to be known as such.
        """
        end = limit.when()
        assert end is not None
        in_time = asyncio.get_running_loop().time() + self._file_s <= end
        return not self.given or (in_time and self.given < self.runner.settings.max_per_run)

    @property
    def _file_s(self) -> float:
        """Seconds that it has for a file; a third of a run at most."""
        own = self.processor.file_timeout or self.runner.settings.file_timeout_s
        return min(own, self.processor.timeout / 3)

    async def _do(self, file: Found) -> None:
        states, name = self.runner.states, self.processor.name
        try:
            prepared = await _prepared(file, self.known.get(file.key), self._before(file))
            if prepared.same:
                self.statistics.skipped += 1
                if file.key in self.known or prepared.moved_from:
                    await states.keep(self.lease, name, prepared)
                else:  # there is nothing in it yet, which is all done
                    await states.mark(self.lease, name, prepared, 0)
            else:
                await self._process(prepared)
            self.known.pop(prepared.moved_from or "", None)
            self._gone.discard(prepared.moved_from or "")
        except (SessionChanged, Postponed):
            self.statistics.skipped += 1  # it is new again by the next run
        except Failed as error:
            await self._failed(file.key, str(error))

    async def _process(self, prepared: Prepared) -> None:
        self.given += 1
        items = await self.child.process(prepared.session, self._file_s)
        await self.runner.states.mark(self.lease, self.processor.name, prepared, items)
        self.statistics.processed += 1
        self.statistics.items_extracted += items

    async def _failed(self, key: str, error: str) -> None:
        name = self.processor.name
        failure = await self.runner.states.fail(self.lease, name, key, error)
        self.statistics.errors += 1
        self.statistics.errors_detail.append(
            FileError(
                session_file=key,
                error=failure.error,
                failures=failure.failures,
                next_try_at=failure.next_try_at.isoformat(timespec="seconds"),
            )
        )
        log.warning("session processor %s failed with a file: %s", name, failure.error)


async def _prepared(
    file: Found, known: FileState | None, before: Mapping[str, FileState]
) -> Prepared:
    stop = threading.Event()
    try:
        return await asyncio.to_thread(prepare, file, known, before, stop)
    finally:
        stop.set()  # where nobody waits for it any more
