"""What each processor knows of each file, in the state: how far it is, and what failed.

A row is written when a file is done, in one transaction with the look whether the processor's
lease is still held. A failure writes none; it is remembered beside, with when to try again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from spark_core.clock import Clock
from spark_core.errors import NotFound
from spark_core.state import Lease, Leases, State
from spark_core.state.times import aware

from .legacy import adopt_legacy
from .settings import SessionsSettings
from .tables import storable, table, upsert

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

    from .files import Prepared

__all__ = ["Failure", "FileState", "SessionStates", "open_states"]

_KEY: Final = ("processor_name", "session_file")


@dataclass(frozen=True)
class FileState:
    """How far a processor is with a file: all before ``position`` is done, and hashes to
    ``digest``. Where that is None, ``digest`` is that of the whole file.
    """

    username: str
    processed_at: datetime
    items: int
    digest: str | None
    position: int | None
    stamp: str


@dataclass(frozen=True)
class Failure:
    """A file that a processor failed with, and when it gets it again."""

    failures: int
    next_try_at: datetime
    error: str


class SessionStates:
    """Reads and writes what processors know of files."""

    def __init__(
        self, state: State, leases: Leases, clock: Clock, settings: SessionsSettings
    ) -> None:
        self._state = state
        self._leases = leases
        self._clock = clock
        self._settings = settings

    async def of(self, processor: str) -> Mapping[str, FileState]:
        """What *processor* knows, by the files' keys."""
        states = _states()
        query = states.select().where(states.c.processor_name == processor)
        rows = await self._state.read(lambda c: c.execute(query).all())
        return {
            row.session_file: FileState(
                row.username,
                aware(row.processed_at),
                row.items_extracted,
                row.file_hash,
                row.position,
                row.stamp,
            )
            for row in rows
        }

    async def failures(self, processor: str) -> Mapping[str, Failure]:
        """The files that *processor* failed with, by key."""
        failed = _failures()
        query = failed.select().where(failed.c.processor_name == processor)
        rows = await self._state.read(lambda c: c.execute(query).all())
        return {
            row.session_file: Failure(row.failures, aware(row.next_try_at), row.error)
            for row in rows
        }

    async def mark(self, lease: Lease, processor: str, done: Prepared, items: int) -> None:
        """Write down that *processor* did what was *done*.

        :raises LeaseLost: the lease went to somebody else, who may be doing it.
        """
        values = {
            "processor_name": processor,
            "session_file": done.session.key,
            "username": storable(done.session.username, 300),
            "processed_at": self._clock.now(),
            "items_extracted": items,
            "file_hash": done.digest,
            "position": done.session.end,
            "stamp": done.stamp,
        }

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            _move(connection, processor, done)
            upsert(connection, _states(), _KEY, values)
            _forget(connection, processor, done.session.key)

        await self._state.write(transaction)

    async def keep(self, lease: Lease, processor: str, same: Prepared) -> None:
        """Write down that a file was looked at, and had nothing new."""
        seen = {
            "stamp": same.stamp,
            "file_hash": same.digest,
            "position": same.session.end,
        }
        states = _states()

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            _move(connection, processor, same)
            row = _row(states, processor, same.session.key)
            connection.execute(states.update().where(*row).values(seen))

        await self._state.write(transaction)

    async def fail(self, lease: Lease, processor: str, key: str, error: str) -> Failure:
        """Write down that *processor* failed with a file: it gets it again later each time."""
        failed = _failures()

        def transaction(connection: Connection) -> Failure:
            self._leases.check(connection, lease)
            row = connection.execute(failed.select().where(*_row(failed, processor, key))).first()
            failures = row.failures + 1 if row is not None else 1
            now = self._clock.now()
            failure = Failure(failures, now + self._pause(failures), storable(error, 300))
            upsert(connection, failed, _KEY, _values(processor, key, failure, now))
            return failure

        return await self._state.write(transaction)

    def _pause(self, failures: int) -> timedelta:
        seconds = self._settings.retry_first_s * 2.0 ** min(failures - 1, 30)
        return timedelta(seconds=min(seconds, self._settings.retry_most_s))

    async def retry(self, processor: str, key: str) -> None:
        """Let *processor* have a file again that it failed with, at its next run.

        :raises NotFound: it did not fail with it.
        """
        forgotten = await self._state.write(lambda c: _forget(c, processor, key))
        if not forgotten:
            raise NotFound(f"{processor} did not fail with {key}", hint="spark sessions status")


@asynccontextmanager
async def open_states(
    state: State, leases: Leases, clock: Clock, settings: SessionsSettings
) -> AsyncIterator[SessionStates]:
    """What processors know, in the state; what the original knew is taken over."""
    await state.write(adopt_legacy)
    yield SessionStates(state, leases, clock, settings)


def _states() -> TableClause:
    columns = ("username", "items_extracted", "file_hash", "position", "stamp")
    return table("session_processor_state", *_KEY, *columns, moments=("processed_at",))


def _failures() -> TableClause:
    moments = ("failed_at", "next_try_at")
    return table("session_processor_failures", *_KEY, "failures", "error", moments=moments)


def _values(processor: str, key: str, failure: Failure, now: datetime) -> dict[str, Any]:
    return {
        "processor_name": processor,
        "session_file": key,
        "failures": failure.failures,
        "failed_at": now,
        "next_try_at": failure.next_try_at,
        "error": failure.error,
    }


def _row(of: TableClause, processor: str, key: str) -> list[Any]:
    return [of.c.processor_name == processor, of.c.session_file == key]


def _forget(connection: Connection, processor: str, key: str) -> bool:
    failed = _failures()
    return bool(connection.execute(failed.delete().where(*_row(failed, processor, key))).rowcount)


def _move(connection: Connection, processor: str, done: Prepared) -> None:
    """Let what was known under a file's former name be known under its present one."""
    if done.moved_from is None:
        return
    states = _states()
    row = _row(states, processor, done.moved_from)
    connection.execute(states.update().where(*row).values(session_file=done.session.key))
    _forget(connection, processor, done.moved_from)
