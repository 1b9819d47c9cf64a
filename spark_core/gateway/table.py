"""The numbers that all processes of a host share: a small file that each maps into memory.

There are four parts: the *pools* (what shares one limit), the *counts* of requests in flight
(one for each pool and process, so that what a dead process held can be told), the *doors* of
the pools, and the *waiting* requests. A lock on the file excludes the others; it is held for
microseconds, and the system gives it back when its holder dies. Each process is a *member*: it
holds a lock on a named pipe of its own as long as it lives, and is woken through it.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from ..errors import SettingsError, Unavailable
from .doors import DOOR_BYTES, HEAD_BYTES, Doors

__all__ = ["Sighting", "Sightings", "Table", "Waiting"]

MEMBERS: Final = 64
POOLS: Final = 64
WAITING: Final = 2048

#: What the file begins with; it changes with the layout.
MAGIC: Final = b"spark-admission4"

#: Magic, how many ever waited, how many of them were let in, how many places were ever used.
_HEADER = struct.Struct("=16sQQQ")
_WAITED_AT, _GRANTS_AT, _USED_AT = 16, 24, 32
_NUMBER = struct.Struct("=Q")

#: Digest of the name, a bit for each member that has it, seconds a request takes, sightings.
_POOL = struct.Struct("=16sQd5d")
_SIGHTINGS = struct.Struct("=5d")
_ENTRY = struct.Struct("=BBHIQQQd")  # see Waiting; the first byte is its state
_TURN_AT: Final = 24

_POOLS_AT: Final = _HEADER.size
_COUNTS_AT: Final = _POOLS_AT + POOLS * _POOL.size
_DOORS_AT: Final = _COUNTS_AT + POOLS * MEMBERS * 2
_ENTRIES_AT: Final = _DOORS_AT + HEAD_BYTES + POOLS * DOOR_BYTES
_SIZE: Final = _ENTRIES_AT + WAITING * _ENTRY.size

_FREE, _QUEUED, _GRANTED = range(3)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits: whose it is, and for which pools (one bit each).

    ``number`` grows with each that comes; ``turn`` is its caller's, see :mod:`.turns`.
    """

    place: int
    member: int
    number: int
    priority: int
    pools: int
    caller: int
    turn: int
    since: float


class Sighting(IntEnum):
    """What can be seen of a backend."""

    WORKED = 0  #: it answered a request
    UP = 1  #: it took a connection
    DOWN = 2  #: it took none
    WELL = 3  #: its own health check says so
    UNWELL = 4  #: its own health check says something else, or nothing


class Sightings(NamedTuple):
    """When each was last seen, in seconds since 1970; 0 for never."""

    worked: float
    up: float
    down: float
    well: float
    unwell: float


class Table:
    """The shared file of *directory*, as one member. Methods want the lock held: ``with table``."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._file = os.open(directory / "table", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with _Locked(self._file):
            self._prepare()
            self._map = mmap.mmap(self._file, _SIZE)
            self._counts = memoryview(self._map)[_COUNTS_AT:_DOORS_AT].cast("H")
            self.doors = Doors(memoryview(self._map)[_DOORS_AT:_ENTRIES_AT])
            self._pipes: dict[int, int] = {}
            self.member, self.pipe = self._join()

    def close(self) -> None:
        """Leave: what this member held or waited for is gone."""
        with self:
            self._forget(self.member)
        self._counts.release()
        self.doors.release()
        self._map.close()
        for pipe in (self.pipe, *self._pipes.values(), self._file):
            os.close(pipe)

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    # ------------------------------------------------------------------------------- members

    def _prepare(self) -> None:
        """Make the file what this version expects; one of another layout is begun anew."""
        if os.fstat(self._file).st_size == _SIZE and os.pread(self._file, 16, 0) == MAGIC:
            return
        os.ftruncate(self._file, 0)
        os.ftruncate(self._file, _SIZE)
        os.pwrite(self._file, MAGIC, 0)

    def _join(self) -> tuple[int, int]:
        for member in range(MEMBERS):
            pipe = self._open_pipe(member)
            if _locked(pipe):
                self._forget(member)
                return member, pipe
            os.close(pipe)
        raise Unavailable(f"more than {MEMBERS} processes share {self._directory}")

    def _open_pipe(self, member: int) -> int:
        path = self._directory / f"member-{member}"
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            pass
        except OSError as error:
            raise SettingsError(f"{path} cannot be made: {error.strerror}") from error
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self, member: int) -> None:
        """Tell *member* that something was granted to it."""
        if member not in self._pipes:
            self._pipes[member] = self._open_pipe(member)
        with suppress(BlockingIOError):  # it was told thousands of times already
            os.write(self._pipes[member], b"!")

    def reap(self) -> None:
        """Give back what processes hold that died."""
        self._reap(self._active())

    def _reap(self, members: Iterable[int]) -> None:
        for member in {*members} - {self.member}:
            pipe = self._open_pipe(member)
            if _locked(pipe):
                self._forget(member)
            os.close(pipe)

    def _active(self) -> Iterator[int]:
        """The members that hold or wait for something."""
        for member in range(MEMBERS):
            if any(self._counts[member::MEMBERS]):
                yield member
        yield from (entry.member for entry in self.waiting())

    def _forget(self, member: int) -> None:
        for pool in range(POOLS):
            self._counts[pool * MEMBERS + member] = 0
            self._set_members(pool, self._pool(pool)[1] & ~(1 << member))
        for place, state, owner in self._places():
            if state != _FREE and owner == member:
                self.free(place)

    # --------------------------------------------------------------------------------- pools

    def pool(self, name: str) -> int:
        """The index of the pool called *name*, which is made where it is new.

        :raises Unavailable: there are too many.
        """
        digest = hashlib.sha256(name.encode()).digest()[:16]
        index = self._find(digest)
        if index is None:
            index = self._find(bytes(16))
            if index is None:
                index = self._abandoned()
            _POOL.pack_into(self._map, _POOLS_AT + index * _POOL.size, digest, 0, *[0.0] * 6)
            self.doors.forget(index)
        self._set_members(index, self._pool(index)[1] | 1 << self.member)
        return index

    def _find(self, digest: bytes) -> int | None:
        return next((pool for pool in range(POOLS) if self._pool(pool)[0] == digest), None)

    def _abandoned(self) -> int:
        """A pool that no process has any more, such as a backend's that had another name."""
        self._reap(range(MEMBERS))
        for pool in range(POOLS):
            if not self._pool(pool)[1]:
                return pool
        raise Unavailable(f"there are more than {POOLS} pools")

    def _pool(self, pool: int) -> tuple[bytes, int, float]:
        """The digest of its name, the members that have it, and what :meth:`seconds` tells."""
        digest, members, seconds, *_ = _POOL.unpack_from(self._map, _POOLS_AT + pool * _POOL.size)
        return digest, members, seconds

    def _set_members(self, pool: int, members: int) -> None:
        _NUMBER.pack_into(self._map, _POOLS_AT + pool * _POOL.size + 16, members)

    def in_flight(self, pool: int) -> int:
        """How many requests all members together have in flight in *pool*."""
        return sum(self._counts[pool * MEMBERS : (pool + 1) * MEMBERS])

    def add(self, pool: int, member: int, count: int) -> None:
        """Count *member*'s requests in flight in *pool* up or down."""
        self._counts[pool * MEMBERS + member] += count

    def seconds(self, pool: int) -> float:
        """What a request in *pool* takes."""
        return self._pool(pool)[2]

    def set_seconds(self, pool: int, seconds: float) -> None:
        """Change what :meth:`seconds` tells."""
        struct.pack_into("=d", self._map, _POOLS_AT + pool * _POOL.size + 24, seconds)

    # These two want no lock: a time is written at once, and the last one to write is right.

    def saw(self, pool: int, what: Sighting, when: float) -> None:
        """Note that *what* was seen of the backend with *pool*, at the time *when*."""
        struct.pack_into("=d", self._map, self._sightings_at(pool) + 8 * what, when)

    def sightings(self, pool: int) -> Sightings:
        """When each thing was last seen of the backend with *pool*."""
        return Sightings(*_SIGHTINGS.unpack_from(self._map, self._sightings_at(pool)))

    def _sightings_at(self, pool: int) -> int:
        return _POOLS_AT + pool * _POOL.size + _POOL.size - _SIGHTINGS.size

    # ------------------------------------------------------------------------------- waiting

    def waiting(self) -> list[Waiting]:
        """Everything that waits, in no order."""
        used = self._used
        if not used:
            return []
        part = memoryview(self._map)[_ENTRIES_AT : _ENTRIES_AT + used * _ENTRY.size]
        with part:
            return [
                Waiting(place, member, number, priority, pools, caller, turn, since)
                for place, (state, priority, member, number, pools, caller, turn, since) in (
                    enumerate(_ENTRY.iter_unpack(part))
                )
                if state == _QUEUED
            ]

    def newcomer(
        self, priority: int, pools: int, caller: int, turn: int, since: float
    ) -> Waiting | None:
        """A request of this member that may be let to wait; None where all places are taken."""
        used = self._used
        free = next((place for place, state, _ in self._places() if state == _FREE), used)
        number = self._count_up(_WAITED_AT) & 0xFFFFFFFF
        entry = Waiting(free, self.member, number, priority, pools, caller, turn, since)
        return entry if free < WAITING else None

    def queue(self, entry: Waiting) -> None:
        """Let *entry*, a :meth:`newcomer`, wait."""
        self._write(entry, _QUEUED, entry.pools)
        self._set(_USED_AT, max(self._used, entry.place + 1))

    def grant(self, entry: Waiting, pool: int) -> int:
        """Let *entry* go ahead in *pool*; it holds its place until its member took notice.

        It is told how many were let in by now.
        """
        self._write(entry, _GRANTED, pool)
        return self._count_up(_GRANTS_AT)

    def set_turn(self, entry: Waiting, turn: int) -> None:
        """It is another turn at which *entry*, which waits, is to be let in."""
        at = _ENTRIES_AT + entry.place * _ENTRY.size
        _NUMBER.pack_into(self._map, at + _TURN_AT, turn)

    def _write(self, entry: Waiting, state: int, pools: int) -> None:
        fields = (state, entry.priority, entry.member, entry.number, pools, entry.caller)
        at = _ENTRIES_AT + entry.place * _ENTRY.size
        _ENTRY.pack_into(self._map, at, *fields, entry.turn, entry.since)

    def granted(self) -> Iterator[tuple[int, int, float]]:
        """This member's requests that may go ahead: number, pool, and since when each waited."""
        for place, state, member in self._places():
            if state == _GRANTED and member == self.member:
                fields = _ENTRY.unpack_from(self._map, _ENTRIES_AT + place * _ENTRY.size)
                self.free(place)
                yield fields[3], fields[4], fields[7]

    def free(self, place: int) -> None:
        """Nobody waits at *place* any more."""
        self._map[_ENTRIES_AT + place * _ENTRY.size] = _FREE
        used = self._used
        while used and self._map[_ENTRIES_AT + (used - 1) * _ENTRY.size] == _FREE:
            used -= 1
        self._set(_USED_AT, used)

    @property
    def anybody_waits(self) -> bool:
        """Whether any place is taken."""
        return self._used > 0

    @property
    def grants(self) -> int:
        """How many of those who waited were ever let in."""
        return self._get(_GRANTS_AT)

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """Each place that was used: its index, state and member."""
        for place in range(self._used):
            at = _ENTRIES_AT + place * _ENTRY.size
            state, _, member = struct.unpack_from("=BBH", self._map, at)
            yield place, state, member

    @property
    def _used(self) -> int:
        return self._get(_USED_AT)

    def _get(self, at: int) -> int:
        found: int = _NUMBER.unpack_from(self._map, at)[0]
        return found

    def _set(self, at: int, value: int) -> None:
        _NUMBER.pack_into(self._map, at, value)

    def _count_up(self, at: int) -> int:
        value = self._get(at) + 1
        self._set(at, value)
        return value


class _Locked:
    def __init__(self, file: int) -> None:
        self._file = file

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


def _locked(file: int) -> bool:
    """Whether nobody held the lock of *file*, which is held now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
