"""Known values that are glued to other letters or figures, with no boundary between.

All letters and figures of a text are read as one row. Where a known value may begin, which its
first letters tell, the row from there on is looked up in every length that a known value has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from ..letters import MARKS, fold, word_pattern

__all__ = ["Beginnings", "joins", "rows"]

#: So many letters of a value tell that it may begin.
LETTERS = 5

#: A megabyte of bits: of a million beginnings that are not known one in eight seems to be.
BITS = 1 << 23


class Beginnings:
    """How known values begin, and how long they are. What is forgotten may stay: it finds nothing.

    It may grow while it is read.
    """

    __slots__ = ("_bits", "_sizes", "sizes")

    def __init__(self) -> None:
        self._bits = bytearray(BITS >> 3)
        self._sizes: set[int] = set()
        self.sizes: Sequence[int] = ()

    def add(self, values: Iterable[str]) -> None:
        """Let *values* be known; shorter ones than a beginning are not."""
        bits, sizes = self._bits, set[int]()
        for value in values:
            if len(value) >= LETTERS:
                at = hash(value[:LETTERS]) % BITS
                bits[at >> 3] |= 1 << (at & 7)
                sizes.add(len(value))
        if not sizes <= self._sizes:
            self._sizes |= sizes
            self.sizes = sorted(self._sizes, reverse=True)

    def within(self, row: str) -> Iterator[int]:
        """Where in *row* a known value may begin."""
        bits = self._bits
        for at in range(len(row) - LETTERS + 1):
            bit = hash(row[at : at + LETTERS]) % BITS
            if bits[bit >> 3] >> (bit & 7) & 1:
                yield at


def rows(text: str) -> tuple[str, list[int]]:
    """The folded letters and figures of *text* in one row, and where each stands there.

    What cannot stand within one value is a ``\\0`` in the row.
    """
    row, places, end = list[str](), list[int](), 0
    for word in word_pattern(text).finditer(text):
        if row and not joins(text[end : word.start()]):
            row.append("\0")
            places.append(end)
        end = word.end()
        for run in (word,) if word[0].isascii() else _RUN.finditer(text, word.start(), end):
            folded = fold(run[0])
            if len(folded) == len(run[0]):
                row.append(folded)
                places += range(*run.span())
                continue
            for at, letter in enumerate(run[0], run.start()):
                if letter not in MARKS:
                    row.append(fold(letter))
                    places += [at] * len(row[-1])
    return "".join(row), places


#: Letters of one kind: glued to others they are to be read as if they stood alone.
_RUN = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")


@lru_cache(maxsize=1000)
def joins(gap: str) -> bool:
    """Whether words with *gap* between them may be one name."""
    return len(gap) < 5 and gap.count("\n") < 2 and not gap.strip(_JOINTS)


_JOINTS = " ,.-\u00a0\n\r\t'_&/+\"()·・‐–"
