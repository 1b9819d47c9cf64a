"""Who speaks when: the turns of a diarization, to be asked about spans of time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from .models import Turn
from .spans import Span, micros, union

__all__ = ["Piece", "Timeline"]


class Piece(NamedTuple):
    """A time in which one speaker speaks without a break."""

    start: int
    end: int
    speaker: str

    @property
    def span(self) -> Span:
        """From, until."""
        return self.start, self.end


class Timeline:
    """The turns in order; those of one speaker that overlap or touch are one piece.

    Turns of no length are left out: nothing can be said in them.
    """

    def __init__(self, turns: Iterable[Turn]) -> None:
        spans: dict[str, list[Span]] = defaultdict(list)
        for turn in turns:
            start, end = micros(turn.start), micros(turn.end)
            if start < end:
                spans[turn.speaker].append((start, end))
        self._of = {
            speaker: [Piece(start, end, speaker) for start, end in union(theirs)]
            for speaker, theirs in spans.items()
        }
        self.pieces = sorted(chain.from_iterable(self._of.values()))
        self._starts = [piece.start for piece in self.pieces]
        self._latest = self._latest_so_far()

    def _latest_so_far(self) -> list[Piece]:
        """For each piece, the one that ends last of those up to it."""
        latest: list[Piece] = []
        for piece in self.pieces:
            longer = not latest or piece.end > latest[-1].end
            latest.append(piece if longer else latest[-1])
        return latest

    def overlapping(self, spans: Sequence[Span]) -> list[list[Piece]]:
        """For each span the pieces that overlap it, in order.

        One sweep: what is looked at are the pieces that run at a span's start, at most one
        per speaker, and those that start within the span.
        """
        found: list[list[Piece]] = [[] for _ in spans]
        running: list[Piece] = []
        position = 0
        for number in sorted(range(len(spans)), key=spans.__getitem__):
            start, end = spans[number]
            passed = bisect_right(self._starts, start, position)
            running += self.pieces[position:passed]
            running = [piece for piece in running if piece.end > start]
            position = passed
            within = bisect_left(self._starts, end, passed)
            found[number] = [*running, *self.pieces[passed:within]] if start < end else []
        return found

    def nearest(self, span: Span) -> tuple[int, list[Piece]]:
        """Of a span that no piece overlaps: the smallest gap, and the pieces at it.

        The gap is the true one, between the nearest ends.
        """
        after = bisect_left(self._starts, span[1])
        gaps: list[tuple[int, Piece]] = []
        if after:
            gaps.append((span[0] - self._latest[after - 1].end, self._latest[after - 1]))
        if after < len(self.pieces):
            gaps.append((self.pieces[after].start - span[1], self.pieces[after]))
        smallest = min(gap for gap, _ in gaps)
        return smallest, [piece for gap, piece in gaps if gap == smallest]

    def onset(self, span: Span) -> int:
        """When speech begins in *span*: at once, with its first piece, or (silence) at once."""
        after = bisect_right(self._starts, span[0])
        if after and self._latest[after - 1].end > span[0]:
            return span[0]
        begins = after < len(self.pieces) and self._starts[after] < span[1]
        return self._starts[after] if begins else span[0]

    def piece_of(self, speaker: str, time: int) -> Piece | None:
        """The piece in which *speaker* speaks at *time*."""
        theirs = self._of.get(speaker, [])
        after = bisect_right(theirs, time, key=lambda piece: piece.start)
        found = theirs[after - 1] if after else None
        return found if found is not None and time <= found.end else None
