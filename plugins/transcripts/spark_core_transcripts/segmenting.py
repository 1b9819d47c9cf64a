"""From attributed words or sentences to segments of one speaker each.

A segment that spans a change of speakers is split where that is safe. Words at a change are
often attributed wrongly, so a side that is too small stays where it is; unless it is a turn of
its own, as a short reply is, or whole sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from .attribution import ends_sentence
from .spans import SECOND, Span, outline, overlap
from .timeline import Timeline

__all__ = ["Unit", "dominant", "sentences_of", "split"]

#: What a side must have to be split off.
LEAST_WORDS = 2
LEAST_TIME = SECOND
LEAST_SHARE = 0.2

#: A longer segment counts as this long for the share.
SHARE_OF = 10 * SECOND

#: A pause that ends a segment where the recogniser made none.
PAUSE = SECOND


@dataclass(frozen=True, slots=True)
class Unit:
    """What is not split any further: a word, or a sentence without words."""

    text: str
    span: Span | None
    speaker: str | None
    word: int | None = None  #: its number, if it is a word


def sentences_of(texts: Sequence[str], spans: Sequence[Span | None]) -> list[int]:
    """The segment of each word, where the recogniser made none: up to a sentence's end or a
    pause.
    """
    numbers, number = [], 0
    for position, text in enumerate(texts):
        numbers.append(number)
        if ends_sentence(text) or _pause_after(spans, position):
            number += 1
    return numbers


def _pause_after(spans: Sequence[Span | None], position: int) -> bool:
    if position + 1 >= len(spans):
        return False
    span, following = spans[position], spans[position + 1]
    return span is not None and following is not None and following[0] - span[1] >= PAUSE


def split(units: Sequence[Unit], timeline: Timeline) -> list[Sequence[Unit]]:
    """*units* of one segment in parts, each of which would not be split again."""
    whole: list[Sequence[Unit]] = [units]
    parts: list[Sequence[Unit]] = []
    while whole:
        part = whole.pop()
        smaller = _split_once(part, timeline)
        if len(smaller) > 1:
            whole += reversed(smaller)
        else:
            parts.append(part)
    return parts


def dominant(units: Sequence[Unit]) -> str | None:
    """Who says most of *units*, by time, then by words, then the first; unknown only if all are."""
    times: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for unit in units:
        if unit.speaker is not None:
            times[unit.speaker] += unit.span[1] - unit.span[0] if unit.span else 0
            words[unit.speaker] += len(unit.text.split())
    return max(times, key=lambda speaker: (times[speaker], words[speaker]), default=None)


def _split_once(units: Sequence[Unit], timeline: Timeline) -> list[list[Unit]]:
    """The runs of one speaker each, but one that is too small joins the one before, or the
    first after it that is not; unless it is a reply, which is a part wherever it stands.
    """
    runs = [list(group) for _, group in groupby(units, key=lambda unit: unit.speaker)]
    least = _least_time(units)
    parts: list[list[Unit]] = []
    held: set[str | None] | None = None  #: whose large runs the last part has, if it may grow
    for number, run in enumerate(runs):
        speaker, large = run[0].speaker, _large_enough(run, least)
        reply = not large and (_whole(runs, number) or _own_turn(run, timeline))
        if reply or held is None or (large and held and speaker not in held):
            parts.append(run)
            held = None if reply else set()
        else:
            parts[-1].extend(run)
        if large and held is not None:
            held.add(speaker)
    return parts


def _whole(runs: Sequence[Sequence[Unit]], number: int) -> bool:
    """Whether a run of words is made of whole sentences: text and times tell the same."""
    run = runs[number]
    begins = number == 0 or ends_sentence(runs[number - 1][-1].text)
    return run[0].word is not None and begins and ends_sentence(run[-1].text)


def _least_time(units: Sequence[Unit]) -> float:
    span = outline(unit.span for unit in units) or (0, 0)
    return max(LEAST_TIME, LEAST_SHARE * min(span[1] - span[0], SHARE_OF))


def _large_enough(run: Sequence[Unit], least: float) -> bool:
    span = outline(unit.span for unit in run) or (0, 0)
    return sum(len(unit.text.split()) for unit in run) >= LEAST_WORDS and span[1] - span[0] >= least


def _own_turn(run: Sequence[Unit], timeline: Timeline) -> bool:
    """Whether the run's speaker has a turn for just this: each covers half of the other."""
    span, speaker = outline(unit.span for unit in run), run[0].speaker
    if span is None or speaker is None or span[0] == span[1]:
        return False
    # What covers half of the run covers its middle.
    turn = timeline.piece_of(speaker, (span[0] + span[1]) // 2)
    if turn is None:
        return False
    return 2 * overlap(span, turn.span) >= max(span[1] - span[0], turn.end - turn.start)
