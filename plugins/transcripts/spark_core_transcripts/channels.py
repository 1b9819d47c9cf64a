"""Two channels of one conversation: a local speaker who is known, and a remote side."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import mul
from typing import NamedTuple, TypeVar

from .bleed import Heard, bleed, same_words
from .labelling import transcript_of
from .models import Channel, LabelledSegment, LabelledTranscript, LabelledWord
from .spans import Span, micros, outline, seconds, spread

__all__ = ["combine", "same_sound", "spoken_by"]

#: The loudness of two channels with the same sound correlates at least so much.
SAME_SOUND = 0.98

#: The share of a segment's words that must be bleed where only segments were given.
MOST = 0.8

DUAL_MONO = "both channels hold the same sound, so the local one was left out"

Item = TypeVar("Item", LabelledSegment, LabelledWord)


def same_sound(local: Sequence[float], remote: Sequence[float]) -> bool:
    """Whether the loudness of both channels, frame by frame, rises and falls together.

    A channel that is silent or constant is like no other.
    """
    count = min(len(local), len(remote))
    if count < 2 or max(len(local), len(remote)) > 1.1 * count:
        return False
    one, other = _centred(local[:count]), _centred(remote[:count])
    power = math.hypot(*one) * math.hypot(*other)
    return power > 0 and sum(map(mul, one, other)) / power >= SAME_SOUND


def _centred(levels: Sequence[float]) -> list[float]:
    mean = math.fsum(levels) / len(levels)
    return [level - mean for level in levels]


def spoken_by(
    transcript: LabelledTranscript, speaker: str | None, channel: Channel, offset: float = 0.0
) -> LabelledTranscript:
    """*transcript* as that of one *channel*, *offset* seconds later; all of it is of *speaker*
    if one is given.
    """

    def moved(item: Item) -> Item:
        times = {"start": _later(item.start, offset), "end": _later(item.end, offset)}
        who = {} if speaker is None else {"speaker": speaker}
        return item.model_copy(update={**times, **who, "channel": channel})

    return transcript_of(
        [moved(word) for word in transcript.words],
        [moved(segment) for segment in transcript.segments],
        notes=transcript.notes,
    )


def _later(time: float | None, offset: float) -> float | None:
    return None if time is None else seconds(max(0, micros(time) + micros(offset)))


def combine(
    local: LabelledTranscript, remote: LabelledTranscript, *, dual_mono: bool = False
) -> LabelledTranscript:
    """Both channels on one clock, in the order of time, without what the local microphone only
    heard from the loudspeaker. Where both hold the same sound, the remote one alone.

    *dual_mono*: it is known already that they do.
    """
    here, there = _heard(local), _heard(remote)
    if dual_mono or same_words(here.heard, there.heard):
        notes = [*remote.notes, DUAL_MONO]
        return remote.model_copy(update={"dual_mono": True, "notes": notes})
    estimated = here.estimated or there.estimated
    removed = bleed(here.heard, there.heard, estimated=estimated)
    if here.estimated:
        kept, count = _without_segments(local, here, removed)
    else:
        kept, count = _without_words(local, removed), len(removed)
    return _in_order(kept, remote).model_copy(update={"bleed_removed": count})


# ------------------------------------------------------------------------------------------ bleed


class Hearing(NamedTuple):
    """The words of a channel as they are compared, and the segment of each."""

    heard: list[Heard]
    segments: list[int]
    estimated: bool


def _heard(transcript: LabelledTranscript) -> Hearing:
    """Its words; of segments without any, the words of their texts at estimated times."""
    if transcript.words:
        heard = [_at(word.start, word.word) for word in transcript.words]
        return Hearing(heard, [word.segment for word in transcript.words], False)
    heard, numbers = [], []
    for number, segment in enumerate(transcript.segments):
        texts = segment.text.split()
        span = _span(segment)
        if span is not None and texts:
            spans = spread([1 + len(text) for text in texts], [span])
            heard += [_at(seconds(start), t) for (start, _), t in zip(spans, texts, strict=True)]
            numbers += [number] * len(texts)
    return Hearing(heard, numbers, True)


def _at(start: float | None, word: str) -> Heard:
    """*word* as its letters and digits; one without a time is like no other."""
    if start is None:
        return Heard(0, "")
    return Heard(micros(start), "".join(c for c in word.casefold() if c.isalnum()))


def _span(item: LabelledSegment | LabelledWord) -> Span | None:
    if item.start is None or item.end is None:
        return None
    return micros(item.start), micros(item.end)


def _without_segments(
    local: LabelledTranscript, hearing: Hearing, removed: set[int]
) -> tuple[LabelledTranscript, int]:
    """Without the segments that are bleed nearly as a whole, and how many words those had."""
    sizes = Counter(hearing.segments)
    lost = Counter(hearing.segments[number] for number in removed)
    gone = {number for number, count in lost.items() if count >= MOST * sizes[number]}
    kept = [segment for number, segment in enumerate(local.segments) if number not in gone]
    return transcript_of([], kept, notes=local.notes), sum(sizes[number] for number in gone)


def _without_words(local: LabelledTranscript, removed: set[int]) -> LabelledTranscript:
    """Without the words that are bleed; a segment of which nothing is left goes, too."""
    words: dict[int, list[LabelledWord]] = {n: [] for n in range(len(local.segments))}
    shorter: set[int] = set()
    for number, word in enumerate(local.words):
        if number in removed:
            shorter.add(word.segment)
        else:
            words[word.segment].append(word)
    segments: list[LabelledSegment] = []
    kept: list[LabelledWord] = []
    for number, segment in enumerate(local.segments):
        if number not in shorter or words[number]:
            kept += [word.model_copy(update={"segment": len(segments)}) for word in words[number]]
            segments.append(_of_words(segment, words[number]) if number in shorter else segment)
    return transcript_of(kept, segments, notes=local.notes)


def _of_words(segment: LabelledSegment, words: Sequence[LabelledWord]) -> LabelledSegment:
    """*segment* with what is left of its words."""
    start, end = outline(map(_span, words)) or (None, None)
    return segment.model_copy(
        update={
            "text": " ".join(word.word.strip() for word in words),
            "start": None if start is None else seconds(start),
            "end": None if end is None else seconds(end),
        }
    )


# ------------------------------------------------------------------------------------------ order


def _in_order(local: LabelledTranscript, remote: LabelledTranscript) -> LabelledTranscript:
    """Both in the order of time; within a channel nothing changes its place."""
    order = list(heapq.merge(_keys(local.segments, 0), _keys(remote.segments, 1)))
    now = {(channel, number): place for place, (_, channel, number) in enumerate(order)}
    both = (local, remote)
    words = [
        both[channel]
        .words[n]
        .model_copy(update={"segment": now[channel, both[channel].words[n].segment]})
        for _, channel, n in heapq.merge(_keys(local.words, 0), _keys(remote.words, 1))
    ]
    segments = [both[channel].segments[n] for _, channel, n in order]
    return transcript_of(words, segments, notes=dict.fromkeys(local.notes + remote.notes))


def _keys(items: Sequence[Item], channel: int) -> Iterator[tuple[float, int, int]]:
    """Sorts *items* by their starts, none before the one before it."""
    reached = 0.0
    for number, item in enumerate(items):
        reached = max(reached, item.start or 0.0)
        yield reached, channel, number
