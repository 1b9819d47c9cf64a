"""Which segment each word belongs to, and where it stands in that segment's text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from .models import Segment, Word

__all__ = ["Home", "homes_of", "segments_of", "sentences", "spaced", "texts_of", "with_own_words"]

#: Characters of a segment's text that no word has: punctuation, mostly.
BETWEEN = 12

_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*")


@dataclass(frozen=True, slots=True)
class Home:
    """The number of a word's segment; where its text begins there, if it was found."""

    segment: int
    offset: int | None = None


def with_own_words(words: Sequence[Word], segments: Sequence[Segment]) -> list[Word]:
    """*words*; where there are none, those that the segments hold."""
    if words:
        return list(words)
    return [
        word.model_copy(update={"segment": number})
        for number, segment in enumerate(segments)
        for word in segment.words
    ]


def homes_of(words: Sequence[Word], segments: Sequence[Segment]) -> list[Home]:
    """The home of each word: as it says itself, else by the texts, else by the times."""
    texts = [_lower(segment.text) for segment in segments]
    numbers = [word.segment for word in words]
    told = [number for number in numbers if number is not None and 0 <= number < len(segments)]
    if len(told) == len(words) and all(one <= other for one, other in pairwise(told)):
        return _told(words, texts, told)
    return _by_text(words, texts) or [Home(n) for n in _by_time(words, segments)]


def _told(words: Sequence[Word], texts: Sequence[str], numbers: Sequence[int]) -> list[Home]:
    found: list[Home] = []
    reached = (0, 0)
    for word, number in zip(words, numbers, strict=True):
        start = reached[1] if reached[0] == number else 0
        offset = _find(word.word, texts[number], start)
        found.append(Home(number, offset))
        reached = (number, start if offset is None else offset + len(word.word.strip()))
    return found


def _by_text(words: Sequence[Word], texts: Sequence[str]) -> list[Home] | None:
    """None where the segments' texts are not made of these words."""
    found: list[Home] = []
    number, reached = 0, 0
    for word in words:
        offset = _find(word.word, texts[number], reached)
        while offset is None and len(texts[number]) - reached <= BETWEEN:
            number, reached = number + 1, 0
            if number == len(texts):
                return None
            offset = _find(word.word, texts[number], reached)
        if offset is None:
            return None
        found.append(Home(number, offset))
        reached = offset + len(word.word.strip())
    return found


def _find(word: str, text: str, start: int) -> int | None:
    word = _lower(word.strip())
    found = text.find(word, start, start + len(word) + BETWEEN)
    return None if found < 0 else found


def _lower(text: str) -> str:
    """*text* in small letters, if that changes no position."""
    small = text.lower()
    return small if len(small) == len(text) else text


def _by_time(words: Sequence[Word], segments: Sequence[Segment]) -> list[int]:
    """The last segment that has begun at the middle of the word; never an earlier one again."""
    starts = list(accumulate((segment.start or 0.0 for segment in segments), max))
    numbers, number = [], 0
    for word in words:
        times = [time for time in (word.start, word.end) if time is not None]
        if times:
            number = max(number, bisect_right(starts, sum(times) / len(times)) - 1)
        numbers.append(number)
    return numbers


def sentences(text: str) -> list[str]:
    """The sentences of *text*; the whole of it where it has none."""
    return [sentence for sentence in _SENTENCE.split(text) if sentence.strip()] or [text]


def segments_of(text: str, words: Sequence[Word]) -> list[Segment]:
    """The sentences of *text*; none where it is not made of *words*."""
    found = sentences(text)
    fits = _by_text(words, [_lower(sentence) for sentence in found]) is not None
    return [Segment(text=sentence) for sentence in found] if fits else []


def texts_of(
    words: Sequence[Word], segments: Sequence[Segment], homes: Sequence[Home]
) -> list[str]:
    """Each word with the spaces and the punctuation around it: a segment's add up to its text."""
    texts: list[str] = []
    for number, group in groupby(zip(words, homes, strict=True), key=lambda each: each[1].segment):
        theirs = list(group)
        offsets = [home.offset for _, home in theirs]
        known = [offset for offset in offsets[1:] if offset is not None]
        if offsets[0] is not None and len(known) == len(offsets) - 1:
            text = segments[number].text
            texts += [text[one:other] for one, other in pairwise((0, *known, len(text)))]
        else:
            texts += spaced([word.word for word, _ in theirs])
    return texts


def spaced(words: Sequence[str]) -> list[str]:
    """*words* with a space before each, unless the recogniser gave the spaces with them."""
    has_spaces = any(word[:1].isspace() or word[-1:].isspace() for word in words)
    return list(words) if has_spaces else [f" {word}" for word in words]
