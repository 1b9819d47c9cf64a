"""The doors of pools: closed for a time, for all processes, and what came of who met one.

They lie in the shared file, in words of eight bytes that are read and written at once. A
request pays for one of them: the bits that say which doors are closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = ["DOOR_BYTES", "HEAD_BYTES", "Door", "Doors", "Met", "ones"]


class Met(IntEnum):
    """What came of a request that met a closed door."""

    QUEUED = 0  #: it waited, and was let in when the door was open again
    REFUSED = 1  #: it was refused, or gave up
    ABORTED = 2  #: it was inside, and its exchange failed


class Door(NamedTuple):
    """A door as it is now. Times are in seconds since 1970.

    ``closed_until`` may be in the past: then it was closed until then (0: it never was).
    ``expected`` is when who closed it thinks that it opens. The counts only ever grow:
    see :class:`Met`.
    """

    closed_until: float = 0.0
    expected: float = 0.0
    queued: int = 0
    refused: int = 0
    aborted: int = 0


_HEAD: Final = 2  # words: the bits of closed doors, and the generation of all models
_UNTIL, _EXPECTED, _REFUSES, _GENERATION, _COUNTS = range(5)
_WORDS: Final = _COUNTS + len(Met)

HEAD_BYTES: Final = 8 * _HEAD
DOOR_BYTES: Final = 8 * _WORDS


class Doors:
    """Every door in *part* of the shared file. What changes something wants the file's lock."""

    def __init__(self, part: memoryview) -> None:
        self._part = part
        self._words = part.cast("Q")
        self._times = part.cast("d")

    def release(self) -> None:
        """Let go of the file."""
        for view in (self._words, self._times, self._part):
            view.release()

    # ------------------------------------------------------------------------- open or closed

    @property
    def bits(self) -> int:
        """One bit for each pool whose door was closed; its time may be over: see :meth:`shut`."""
        return self._words[0]

    def shut(self, pool: int, now: float) -> bool:
        """Whether the door of *pool* is closed at the time *now*; one that need not be, opens."""
        if not self._words[0] >> pool & 1:
            return False
        if self._times[_at(pool) + _UNTIL] > now:
            return True
        self._words[0] &= ~(1 << pool)
        return False

    def close(self, pool: int, until: float, expected: float, refuses: bool) -> None:
        """Let nobody into *pool* before the time *until*."""
        at = _at(pool)
        self._times[at + _UNTIL] = until
        self._times[at + _EXPECTED] = max(until, expected)
        self._words[at + _REFUSES] = refuses
        self._words[0] |= 1 << pool

    def open(self, pool: int, now: float) -> None:
        """Let requests into *pool* again, at the time *now*."""
        if self.shut(pool, now):
            self._times[_at(pool) + _UNTIL] = now
            self._words[0] &= ~(1 << pool)

    def forget(self, pool: int) -> None:
        """The door of *pool* is that of another pool from now on: open, and as good as new."""
        for word in range(_at(pool), _at(pool + 1)):
            self._words[word] = 0
        self._words[0] &= ~(1 << pool)

    def refuses(self, pool: int) -> bool:
        """Whether who meets the closed door of *pool* is to be refused at once."""
        return bool(self._words[_at(pool) + _REFUSES])

    def lapse(self, now: float) -> None:
        """Open the doors whose time is over."""
        for pool in ones(self._words[0]):
            self.shut(pool, now)

    def next_opening(self) -> float:
        """When the first of the closed doors opens by itself; infinity where none is closed."""
        pools = ones(self._words[0])
        return min((self._times[_at(pool) + _UNTIL] for pool in pools), default=float("inf"))

    def count(self, pools: Iterable[int], met: Met) -> None:
        """One more request *met* the doors of *pools*."""
        for pool in pools:
            self._words[_at(pool) + _COUNTS + met] += 1

    def closed_until(self, pool: int) -> float:
        """Until when the door of *pool* is, or was, closed."""
        return self._times[_at(pool) + _UNTIL]

    def door(self, pool: int) -> Door:
        """The door of *pool*."""
        at = _at(pool)
        counts = self._words[at + _COUNTS : at + _WORDS]
        return Door(self._times[at + _UNTIL], self._times[at + _EXPECTED], *counts)

    # ---------------------------------------------------------------- what is behind the doors

    @property
    def generation(self) -> int:
        """A number that grows whenever the models behind any door change."""
        return self._words[1]

    def generation_of(self, pool: int) -> int:
        """How many times the models behind the door of *pool* changed."""
        return self._words[_at(pool) + _GENERATION]

    def changed(self, pool: int) -> None:
        """The models behind the door of *pool* are others now."""
        self._words[_at(pool) + _GENERATION] += 1
        self._words[1] += 1


def _at(pool: int) -> int:
    return _HEAD + pool * _WORDS


def ones(bits: int) -> Iterator[int]:
    """The places of the ones in *bits*."""
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1
