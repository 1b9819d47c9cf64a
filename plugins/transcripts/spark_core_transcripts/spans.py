"""Spans of time in whole microseconds, so that ties are exact and a shift changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = ["SECOND", "Span", "micros", "outline", "overlap", "seconds", "spread", "union"]

SECOND = 1_000_000

#: From, until.
Span = tuple[int, int]


def micros(time: float) -> int:
    """*time* in seconds as microseconds."""
    return round(time * SECOND)


def seconds(time: int) -> float:
    """*time* in microseconds as seconds."""
    return time / SECOND


def overlap(one: Span, other: Span) -> int:
    """How long both last at once."""
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))


def union(spans: Iterable[Span]) -> list[Span]:
    """The time that *spans* cover, in order; those that touch become one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def outline(spans: Iterable[Span | None]) -> Span | None:
    """From the first beginning until the last end; none where nothing has a time."""
    known = [span for span in spans if span is not None]
    if not known:
        return None
    return min(start for start, _ in known), max(end for _, end in known)


def spread(weights: Sequence[int], room: Sequence[Span]) -> list[Span]:
    """Share out *room*, spans in order, by *weights*; what crosses a hole includes it."""
    total, whole = sum(end - start for start, end in room), sum(weights)
    edges = [total * weight // whole for weight in accumulate(weights, initial=0)]
    starts, ends = _positions(edges[:-1], room, 0), _positions(edges[1:], room, 1)
    return list(zip(starts, ends, strict=True))


def _positions(edges: Sequence[int], room: Sequence[Span], is_end: int) -> list[int]:
    """Where *edges*, counted along *room*, lie; on a hole, an end lies before it."""
    found, number, passed = [], 0, 0
    for edge in edges:
        while number < len(room) - 1 and edge + 1 - is_end > passed + _length(room[number]):
            passed += _length(room[number])
            number += 1
        found.append(min(room[number][0] + edge - passed, room[number][1]))
    return found


def _length(span: Span) -> int:
    return span[1] - span[0]
