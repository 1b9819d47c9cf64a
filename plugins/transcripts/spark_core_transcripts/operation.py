"""``transcripts.label``: who said what."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from .channels import combine, same_sound, spoken_by
from .chunks import Chunk, join
from .labelling import NO_TURNS, TOLERANCE, label
from .models import LabelledTranscript, Seconds, Segment, Turn, Word

__all__ = ["LabelRequest", "LocalChannel", "label_transcript"]

#: In one request; the work for a word grows with those who speak at once.
MOST_SPEAKERS = 1000

Words = Annotated[list[Word], Field(max_length=500_000)]
Segments = Annotated[list[Segment], Field(max_length=100_000)]
Turns = Annotated[list[Turn], Field(max_length=200_000)]
Levels = Annotated[
    list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(max_length=10**6)
]


class LocalChannel(BaseModel, defer_build=True):
    """A channel of its own on which one known person speaks, beside the remote side."""

    speaker: str = Field(default="local", min_length=1, max_length=200)
    words: Words = []
    segments: Segments = []
    offset: float = Field(
        default=0.0,
        allow_inf_nan=False,
        ge=-10_000_000,
        le=10_000_000,
        description="Seconds by which this channel's clock is behind the remote one's.",
    )
    levels: Levels = Field(default=[], description="Its loudness, frame by frame.")


class LabelRequest(BaseModel, defer_build=True):
    """What was recognised, and who spoke when."""

    words: Words = Field(
        default=[], description="In their order. With `local`, those of the remote channel."
    )
    segments: Segments = Field(
        default=[], description="By default the words are cut at sentences and pauses."
    )
    turns: Turns = Field(default=[], description="The diarization.")
    chunks: list[Chunk] = Field(
        default=[], max_length=10_000, description="The diarization in overlapping chunks instead."
    )
    local: LocalChannel | None = Field(
        default=None, description="A second channel, of one known speaker."
    )
    levels: Levels = Field(
        default=[],
        description="The loudness of the remote channel, in frames as long as the local ones.",
    )
    tolerance: float = Field(
        default=TOLERANCE,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds that a word may lie from the nearest turn and still be of it.",
    )
    language: str | None = None
    duration: Seconds | None = Field(default=None, description="Of the recording.")

    @model_validator(mode="after")
    def _possible_diarization(self) -> LabelRequest:
        if self.turns and self.chunks:
            raise ValueError("give turns or chunks, not both")
        if len({turn.speaker for turn in self.turns}) > MOST_SPEAKERS:
            raise ValueError(f"the turns have more than {MOST_SPEAKERS} speakers")
        return self


async def label_transcript(request: LabelRequest) -> LabelledTranscript:
    """Say who said what: join recognised words or segments with a diarization's turns.

    Each word goes to the speaker with the largest summed overlap; without any, to the nearest
    turn within `tolerance`, else to nobody. Words without times lie between their neighbours.
    No word is lost, added or moved. A segment that spans a change of speakers is split where
    that is safe.

    With `local` there are two channels: everything on the local one is of its speaker but what
    its microphone only heard from the loudspeaker, which is left out.
    """
    # A long meeting takes a second or two of computing.
    return await asyncio.to_thread(_labelled, request)


def _labelled(request: LabelRequest) -> LabelledTranscript:
    turns, notes = request.turns, list[str]()
    if request.chunks:
        joined = join(request.chunks)
        turns, notes = joined.turns, joined.notes
    transcript = label(request.words, request.segments, turns, tolerance=request.tolerance)
    if request.local is not None:
        transcript = _with_local(transcript, request.local, request)
    about = {"language": request.language, "duration": request.duration}
    return transcript.model_copy(update={**about, "notes": transcript.notes + notes})


def _with_local(
    remote: LabelledTranscript, channel: LocalChannel, request: LabelRequest
) -> LabelledTranscript:
    unlabelled = label(channel.words, channel.segments, [])
    unlabelled.notes.remove(NO_TURNS)
    local = spoken_by(unlabelled, channel.speaker, "local", channel.offset)
    dual_mono = same_sound(channel.levels, request.levels)
    return combine(local, spoken_by(remote, None, "remote"), dual_mono=dual_mono)
