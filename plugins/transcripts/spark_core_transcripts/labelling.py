"""Joins what was said with who spoke when, on one channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from .attribution import attribute
from .homes import Home, homes_of, sentences, spaced, texts_of, with_own_words
from .models import LabelledSegment, LabelledTranscript, LabelledWord, Segment, Turn, Word
from .placing import place
from .segmenting import Unit, dominant, sentences_of, split
from .spans import Span, micros, outline, seconds, spread, union
from .timeline import Timeline

__all__ = ["TOLERANCE", "label", "transcript_of"]

#: How far, in seconds, a word may lie from the nearest turn and still be of its speaker.
TOLERANCE = 1.0

NO_TURNS = "no turns were given, so no speaker is known"


def label(
    words: Sequence[Word],
    segments: Sequence[Segment],
    turns: Sequence[Turn],
    *,
    tolerance: float = TOLERANCE,
) -> LabelledTranscript:
    """Say who said each of *words* and *segments*; :mod:`.attribution` has the rule for words.

    Words stay as they are and in their order; so do segments, but for those that are split
    (see :mod:`.segmenting`). The text of a segment without words is attributed as a whole, or
    sentence by sentence. *tolerance* is in seconds.
    """
    timeline, near = Timeline(turns), micros(tolerance)
    words = with_own_words(words, segments)
    units, placed = _word_units(words, segments, timeline, near)
    wordless = {n: segment for n, segment in enumerate(segments) if n not in units}
    units |= _sentence_units(wordless, timeline, near)
    said: list[LabelledWord] = []
    labelled: list[LabelledSegment] = []
    for number in sorted(units):
        parts = split(units[number], timeline)
        whole = segments[number] if segments and len(parts) == 1 else None
        for part in parts:
            said += _labelled_words(part, words, placed, len(labelled))
            labelled.append(_labelled_segment(part, whole))
    return transcript_of(said, labelled, notes=[] if turns else [NO_TURNS])


def transcript_of(
    words: list[LabelledWord], segments: list[LabelledSegment], *, notes: Iterable[str] = ()
) -> LabelledTranscript:
    """The transcript that *words* and *segments* make."""
    speakers = chain((s.speaker for s in segments), (w.speaker for w in words))
    return LabelledTranscript(
        text=" ".join(segment.text for segment in segments if segment.text),
        speakers=list(dict.fromkeys(name for name in speakers if name is not None)),
        segments=segments,
        words=words,
        notes=list(notes),
    )


# ----------------------------------------------------------------------------------------- units


def _word_units(
    words: Sequence[Word], segments: Sequence[Segment], timeline: Timeline, near: int
) -> tuple[dict[int, list[Unit]], set[int]]:
    """The words of each segment, attributed, and the numbers of those that were placed."""
    if not words:
        return {}, set()
    bounds = [_bounds(segment) for segment in segments]
    homes = homes_of(words, segments) if segments else []
    inside = [bounds[home.segment] for home in homes] or [None] * len(words)
    spans, placed = place(words, inside, timeline)
    texts = texts_of(words, segments, homes) if segments else spaced([w.word for w in words])
    homes = homes or [Home(number) for number in sentences_of(texts, spans)]
    speakers = attribute(texts, spans, timeline, near)
    units: dict[int, list[Unit]] = defaultdict(list)
    for number, home in enumerate(homes):
        units[home.segment].append(Unit(texts[number], spans[number], speakers[number], number))
    return units, placed


def _sentence_units(
    wordless: Mapping[int, Segment], timeline: Timeline, near: int
) -> dict[int, list[Unit]]:
    """The sentences of each segment, spread over the speech in it, and attributed."""
    bounds = {number: _bounds(segment) for number, segment in wordless.items()}
    speech = _speech([span for span in bounds.values() if span is not None], timeline)
    texts: list[tuple[int, str]] = []
    spans: list[Span | None] = []
    for number, segment in wordless.items():
        found, within = sentences(segment.text), bounds[number]
        texts += [(number, sentence) for sentence in found]
        weights = [1 + len(sentence) for sentence in found]
        spans += spread(weights, speech[within]) if within else [None] * len(found)
    speakers = attribute([text for _, text in texts], spans, timeline, near)
    units: dict[int, list[Unit]] = defaultdict(list)
    for (number, text), span, speaker in zip(texts, spans, speakers, strict=True):
        units[number].append(Unit(f" {text}", span, speaker))
    return units


def _speech(bounds: Sequence[Span], timeline: Timeline) -> dict[Span, list[Span]]:
    """When anybody speaks within each of *bounds*; all of it where nobody does."""
    found = {}
    for (start, end), pieces in zip(bounds, timeline.overlapping(bounds), strict=True):
        inside = union((max(start, piece.start), min(end, piece.end)) for piece in pieces)
        found[start, end] = inside or [(start, end)]
    return found


def _bounds(segment: Segment) -> Span | None:
    if segment.start is None or segment.end is None or segment.end < segment.start:
        return None
    return micros(segment.start), micros(segment.end)


# --------------------------------------------------------------------------------------- results


def _labelled_words(
    part: Iterable[Unit], words: Sequence[Word], placed: set[int], segment: int
) -> list[LabelledWord]:
    return [
        LabelledWord(
            word=words[unit.word].word,
            **_times(unit.span),
            speaker=unit.speaker,
            segment=segment,
            placed=unit.word in placed,
        )
        for unit in part
        if unit.word is not None
    ]


def _labelled_segment(part: Sequence[Unit], whole: Segment | None) -> LabelledSegment:
    """*part*; of a segment that is still *whole*, the text is kept, and so are the times if no
    words tell them better.
    """
    span = outline(unit.span for unit in part)
    if whole is not None and (span is None or part[0].word is None):
        span = _bounds(whole)
    text = "".join(unit.text for unit in part) if whole is None else whole.text
    return LabelledSegment(text=text.strip(), **_times(span), speaker=dominant(part))


def _times(span: Span | None) -> dict[str, float | None]:
    if span is None:
        return {"start": None, "end": None}
    return {"start": seconds(span[0]), "end": seconds(span[1])}
