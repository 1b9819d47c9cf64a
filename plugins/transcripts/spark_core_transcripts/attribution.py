"""Which speaker says each word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from .spans import Span, overlap
from .timeline import Piece, Timeline

__all__ = ["attribute", "ends_sentence"]

#: A reply lasts no longer, in microseconds.
REPLY = 2_000_000

#: A pause that sets a reply apart.
PAUSE = 150_000

#: The share of a word's best overlap that a reply's own turn must reach.
NEARLY = 0.8

_SENTENCE_END = re.compile(r"[.!?…。！？]['\"’”»)\]]*\s*$")


def ends_sentence(text: str) -> bool:
    """Whether *text* ends as a sentence does."""
    return _SENTENCE_END.search(text) is not None


def attribute(
    texts: Sequence[str], spans: Sequence[Span | None], timeline: Timeline, tolerance: int
) -> list[str | None]:
    """The speaker of each of *texts*, said at *spans*; none where nobody is near.

    It is the one with the largest summed overlap. Without any, it is the one whose turn is
    nearest, if within *tolerance* microseconds. A tie goes to the speaker of the word before;
    else to the one whose turn started first; else to the first name. But a word that stands
    alone in a short turn within a longer one is a reply, of whoever has the short turn.
    """
    if not timeline.pieces:
        return [None] * len(texts)
    pieces = timeline.overlapping([_widened(span) for span in spans])
    replies = dict(_replies(texts, spans, pieces))
    speakers: list[str | None] = []
    for number, span in enumerate(spans):
        before = speakers[-1] if speakers else None
        if span is None:
            speakers.append(None)
        elif number in replies:
            speakers.append(replies[number])
        else:
            speakers.append(_speaker(_widened(span), pieces[number], timeline, tolerance, before))
    return speakers


def _widened(span: Span | None) -> Span:
    """A point as the least span around it, so that it overlaps what it touches."""
    if span is None:
        return 0, 0
    return span if span[0] < span[1] else (span[0] - 1, span[0] + 1)


def _speaker(
    span: Span, pieces: Sequence[Piece], timeline: Timeline, tolerance: int, before: str | None
) -> str | None:
    if pieces:
        return _first(_most(span, pieces), pieces, before)
    gap, nearest = timeline.nearest(span)
    if gap > tolerance:
        return None
    return _first({piece.speaker for piece in nearest}, nearest, before)


def _most(span: Span, pieces: Sequence[Piece]) -> set[str]:
    """Those with the largest summed overlap."""
    sums: Counter[str] = Counter()
    for piece in pieces:
        sums[piece.speaker] += overlap(span, piece.span)
    most = max(sums.values())
    return {speaker for speaker, sum_ in sums.items() if sum_ == most}


def _first(tied: set[str], pieces: Sequence[Piece], before: str | None) -> str:
    if before in tied:
        return before
    return min(piece for piece in pieces if piece.speaker in tied).speaker


# --------------------------------------------------------------------------------------- replies


def _replies(
    texts: Sequence[str], spans: Sequence[Span | None], pieces: Sequence[Sequence[Piece]]
) -> Iterator[tuple[int, str]]:
    """The words that are a reply, each with its speaker."""
    inner = [_inner(span, around) for span, around in zip(spans, pieces, strict=True)]
    for piece, group in groupby(range(len(texts)), key=inner.__getitem__):
        run = list(group)
        if piece is not None and _stands_alone(texts, spans, run[0], run[-1]):
            yield from ((number, piece.speaker) for number in run)


def _inner(span: Span | None, pieces: Sequence[Piece]) -> Piece | None:
    """The short turn that a word fills as well as the longer one around it does."""
    if span is None or len(pieces) < 2:
        return None
    best = max(overlap(span, piece.span) for piece in pieces)
    shortest = min(pieces, key=lambda piece: (piece.end - piece.start, piece))
    short_enough = shortest.end - shortest.start <= REPLY
    filled = overlap(span, shortest.span) >= NEARLY * best > 0
    around = (p for p in pieces if p.start <= shortest.start and shortest.end <= p.end)
    nested = any(piece.speaker != shortest.speaker for piece in around)
    return shortest if short_enough and filled and nested else None


def _stands_alone(
    texts: Sequence[str], spans: Sequence[Span | None], first: int, last: int
) -> bool:
    """Whether a pause or the end of a sentence sets these words apart, on both sides."""
    return _apart(texts, spans, first - 1) and _apart(texts, spans, last)


def _apart(texts: Sequence[str], spans: Sequence[Span | None], before: int) -> bool:
    """Whether what comes behind the word *before* is set apart from it."""
    if not 0 <= before < len(texts) - 1 or ends_sentence(texts[before]):
        return True
    one, other = spans[before], spans[before + 1]
    return one is None or other is None or other[0] - one[1] >= PAUSE
