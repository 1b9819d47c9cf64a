"""When words are said: those without times are placed, those that last too long are cut short.

Recognisers leave out the times of what they cannot align (often numbers), give words of no
length, and stretch a word over the silence that follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from .models import Word
from .spans import Span, micros, overlap, spread, union
from .timeline import Timeline

__all__ = ["longest", "place"]

#: So much silence within a word, in microseconds, is none of the word.
SILENCE = 200_000


def longest(word: str) -> int:
    """How long *word* may plausibly last, said slowly, in microseconds; a digit is a word."""
    digits = sum(character.isdigit() for character in word)
    return 600_000 + 150_000 * (len(word.strip()) + 2 * digits)


def place(
    words: Sequence[Word], bounds: Sequence[Span | None], timeline: Timeline
) -> tuple[list[Span | None], set[int]]:
    """When each of *words* is said, and the numbers of those that were placed.

    ``bounds`` are the times of the words' segments, where known. A word that has no times lies
    between its neighbours, within its segment; it gets none only if nothing around it has any.
    """
    given = [_given(word) for word in words]
    _shorten(given, words, timeline)
    anchors = list(_anchors(given, bounds))
    spans: list[Span | None] = [None] * len(words)
    for number in anchors:
        spans[number] = given[number]
    for before, after in pairwise((-1, *anchors, len(words))):
        if before + 1 < after:
            _fill(spans, words, bounds, range(before + 1, after), timeline)
    return spans, set(range(len(words))).difference(anchors)


def _given(word: Word) -> Span | None:
    """The times that the recogniser gave, if they can be."""
    given = [micros(time) for time in (word.start, word.end) if time is not None]
    return (given[0], given[-1]) if given and given[0] <= given[-1] else None


def _shorten(spans: list[Span | None], words: Sequence[Word], timeline: Timeline) -> None:
    """Take from words that last too long the silence that they are stretched over."""
    long = {
        number: span
        for number, span in enumerate(spans)
        if span is not None and span[1] - span[0] > longest(words[number].word)
    }
    spoken = timeline.overlapping(list(long.values()))
    for (number, span), pieces in zip(long.items(), spoken, strict=True):
        speech = union(piece.span for piece in pieces)
        if speech and span[1] - span[0] - sum(overlap(span, part) for part in speech) > SILENCE:
            start = max(span[0], speech[0][0])
            spans[number] = start, min(span[1], start + longest(words[number].word))


def _anchors(given: Sequence[Span | None], bounds: Sequence[Span | None]) -> Iterator[int]:
    """The words whose times hold: with a length, or of none but where they can be."""
    following = _next_starts(given)
    reached: int | None = None
    for number, span in enumerate(given):
        if span is None:
            continue
        low, high = _room(reached, following[number], bounds[number])
        fits = (low is None or low <= span[0]) and (high is None or span[1] <= high)
        if span[0] < span[1] or fits:
            reached = span[1]
            yield number


def _next_starts(spans: Sequence[Span | None]) -> list[int | None]:
    """For each word, when the next one that has a length starts."""
    following: list[int | None] = []
    latest: int | None = None
    for span in reversed(spans):
        following.append(latest)
        if span is not None and span[0] < span[1]:
            latest = span[0]
    return following[::-1]


def _room(
    reached: int | None, following: int | None, bounds: Span | None
) -> tuple[int | None, int | None]:
    """Where a word can be: between its neighbours, and within its segment if that fits."""
    first, last = bounds or (None, None)
    low = max((time for time in (reached, first) if time is not None), default=None)
    high = min((time for time in (following, last) if time is not None), default=None)
    if low is not None and high is not None and low >= high:
        return reached, following
    return low, high


def _fill(
    spans: list[Span | None],
    words: Sequence[Word],
    bounds: Sequence[Span | None],
    hole: range,
    timeline: Timeline,
) -> None:
    """Place the words of *hole*, those of each segment together."""
    beyond = spans[hole.stop] if hole.stop < len(words) else None
    groups = [(inside, list(group)) for inside, group in groupby(hole, key=bounds.__getitem__)]
    before = spans[hole.start - 1] if hole.start else None
    # A segment that begins within the hole ends the room of those before it.
    begin = [
        span[0] if span and (not before or span[0] >= before[1]) else None for span, _ in groups
    ]
    starts = [*begin[1:], beyond and beyond[0]]
    for (inside, numbers), following in zip(groups, _nearest_after(starts), strict=True):
        before = spans[numbers[0] - 1] if numbers[0] else None
        room = _room(before and before[1], following, inside)
        weights = [longest(words[number].word) for number in numbers]
        for number, span in zip(numbers, _shares(room, weights, timeline), strict=True):
            spans[number] = span


def _nearest_after(starts: Sequence[int | None]) -> list[int | None]:
    """For each place the least of *starts* from there on."""
    least: list[int | None] = []
    for start in reversed(starts):
        known = [time for time in (start, *least[-1:]) if time is not None]
        least.append(min(known, default=None))
    return least[::-1]


def _shares(
    room: tuple[int | None, int | None], weights: Sequence[int], timeline: Timeline
) -> Sequence[Span | None]:
    """Where words of these *weights* lie in *room*: from where speech begins, no longer than
    they may last. Where the room has one side or is none, they lie at a point.
    """
    low, high = room
    if low is None or high is None or high <= low:
        point = low if high is None else high
        return [None if point is None else (point, point)] * len(weights)
    low = timeline.onset((low, high))
    return spread(weights, [(low, min(high, low + sum(weights)))])
