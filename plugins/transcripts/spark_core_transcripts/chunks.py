"""Long recordings: diarized in overlapping chunks, whose speakers are then matched by voice.

A diarizer tells few speakers apart (often four), and names them anew in each chunk. Who is who
across chunks follows from the voiceprints, so a meeting may have more speakers than a chunk.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, Field

from spark_core.errors import InvalidRequest

from .models import Foreign, Seconds, Turn
from .spans import SECOND, micros, seconds
from .timeline import Piece, Timeline
from .voices import THRESHOLD, Voice, cluster, unit

__all__ = ["Chunk", "ChunkSpeaker", "MatchedTurns", "Window", "join", "plan"]

#: Less speech than this, in seconds, counts as this much: a voiceprint is never worth nothing.
LEAST = 0.1

#: After every recording's end, in microseconds.
LAST = 20_000_000 * SECOND


class Window(BaseModel, defer_build=True):
    """The part of a recording that is diarized at once, in seconds."""

    start: float
    end: float


def plan(duration: float, *, window: float = 60.0, overlap: float = 10.0) -> list[Window]:
    """The windows of a recording of *duration*: equally long, at most *window* each, and each
    shares at least *overlap* with the next; all in seconds.

    :raises InvalidRequest: the duration is no length of time, or the overlap is too large.
    """
    if not (math.isfinite(duration) and duration >= 0):
        raise InvalidRequest("the duration must be a number of seconds, not negative")
    if not (math.isfinite(window) and 0 <= overlap < window):
        raise InvalidRequest("the overlap must be shorter than the window, and not negative")
    count = max(1, math.ceil((duration - overlap) / (window - overlap)))
    length = (duration + (count - 1) * overlap) / count
    starts = [number * (length - overlap) for number in range(count)]
    return [Window(start=start, end=min(start + length, duration)) for start in starts]


class ChunkSpeaker(Foreign):
    """What is known of a speaker in one chunk."""

    embedding: list[float | None] | None = Field(
        default=None, max_length=4096, description="The voiceprint; none that is all 0 counts."
    )


class Chunk(Foreign):
    """The diarization of one window; its times count from its own beginning."""

    offset: Seconds = Field(description="Where the chunk begins in the recording.")
    duration: Seconds | None = Field(
        default=None, description="How long it is; by default until its last segment ends."
    )
    segments: Annotated[list[Turn], Field(max_length=100_000)]
    speakers: dict[str, ChunkSpeaker] = Field(
        default={}, description="By the name that the segments have."
    )


class MatchedTurns(BaseModel, defer_build=True):
    """The turns of the whole recording."""

    turns: list[Turn]
    speakers: int = Field(description="How many different ones there are.")
    unmatched: list[str] = Field(
        description="Those that were heard in one chunk and have no usable voiceprint: they may "
        "be somebody else as well."
    )

    @property
    def notes(self) -> list[str]:
        """What was not as it should be."""
        if not self.unmatched:
            return []
        names = ", ".join(self.unmatched)
        return [f"no usable voiceprint, so they may be the same as others: {names}"]


def join(chunks: Sequence[Chunk], *, threshold: float = THRESHOLD) -> MatchedTurns:
    """One diarization out of *chunks*; where two overlap, each counts up to the middle.

    Speakers are the same where their voiceprints are: the cosine similarity of the means of two
    groups is at least *threshold*, and no group has two speakers of one chunk. Speakers are
    called ``SPEAKER_00`` and so on, as they come in.

    :raises InvalidRequest: the voiceprints have different lengths.
    """
    chunks = sorted(chunks, key=lambda chunk: chunk.offset)
    voices = [voice for number, chunk in enumerate(chunks) for voice in _voices(number, chunk)]
    if len({len(voice.vector) for voice in voices}) > 1:
        raise InvalidRequest("the voiceprints have different lengths, so they cannot be compared")
    groups: dict[Hashable, Hashable] = {
        voice.key: number
        for number, group in enumerate(cluster(voices, threshold))
        for voice in group
    }
    names: dict[Hashable, str] = {}
    turns: list[Turn] = []
    for start, end, key in sorted(_spoken(chunks)):
        name = names.setdefault(groups.get(key, key), f"SPEAKER_{len(names):02}")
        turns.append(Turn(start=seconds(start), end=seconds(end), speaker=name))
    alone = [name for identity, name in names.items() if isinstance(identity, tuple)]
    return MatchedTurns(
        turns=[_turn(piece) for piece in Timeline(turns).pieces],
        speakers=len(names),
        unmatched=alone if len(chunks) > 1 else [],
    )


def _voices(number: int, chunk: Chunk) -> Iterator[Voice]:
    """Those of the chunk's speakers that have a usable voiceprint."""
    speech: Counter[str] = Counter()
    for turn in chunk.segments:
        speech[turn.speaker] += micros(turn.end - turn.start)
    for speaker, known in chunk.speakers.items():
        vector = unit(known.embedding or ())
        if vector is not None and speaker in speech:
            yield Voice((number, speaker), number, vector, max(seconds(speech[speaker]), LEAST))


def _spoken(chunks: Sequence[Chunk]) -> Iterator[tuple[int, int, tuple[int, str]]]:
    """From, until, and who in which chunk: each chunk's part of the recording."""
    borders = [0, *(_border(*pair) for pair in pairwise(chunks)), LAST]
    for number, (chunk, span) in enumerate(zip(chunks, pairwise(borders), strict=True)):
        for turn in chunk.segments:
            start = max(span[0], micros(chunk.offset + turn.start))
            end = min(span[1], micros(chunk.offset + turn.end))
            if start < end:
                yield start, end, (number, turn.speaker)


def _border(chunk: Chunk, following: Chunk) -> int:
    """The middle of what both share; where the later one begins, if they share nothing."""
    last = max((turn.end for turn in chunk.segments), default=0.0)
    end = chunk.offset + (last if chunk.duration is None else chunk.duration)
    return micros((following.offset + max(end, following.offset)) / 2)


def _turn(piece: Piece) -> Turn:
    return Turn(start=seconds(piece.start), end=seconds(piece.end), speaker=piece.speaker)
