"""What goes in and what comes out: words, segments, turns, and the labelled transcript.

Times are seconds on the clock of the recording, kept to the microsecond.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

__all__ = [
    "Channel",
    "LabelledSegment",
    "LabelledTranscript",
    "LabelledWord",
    "Seconds",
    "Segment",
    "Turn",
    "Word",
]

#: A time of a recording. Its end, 115 days, keeps arithmetic exact.
Seconds = Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)]

Channel = Literal["local", "remote"]


class Foreign(BaseModel, defer_build=True):
    """What recognisers and diarizers write: fields that are not known here are passed over."""

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if name in cls.model_fields}


class Word(Foreign):
    """A word that was recognised; one without times, or of no length, is placed."""

    word: str
    start: Seconds | None = None
    end: Seconds | None = None
    segment: int | None = Field(default=None, description="The number of its segment, from 0.")


class Segment(Foreign):
    """A piece of the transcript, as the recogniser cut it."""

    text: str
    start: Seconds | None = None
    end: Seconds | None = None
    words: list[Word] = Field(default=[], description="Used where no words are given beside.")


class Turn(Foreign):
    """A time in which somebody speaks, as the diarizer heard it; turns may overlap."""

    start: Seconds
    end: Seconds
    speaker: str = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _forwards(self) -> Turn:
        if self.end < self.start:
            raise ValueError("it ends before it starts")
        return self


class LabelledWord(BaseModel, defer_build=True):
    """A word, and who said it."""

    word: str
    start: float | None
    end: float | None
    speaker: str | None = Field(description="Null where nobody is known to speak.")
    segment: int = Field(description="The number of its segment, from 0.")
    placed: bool = Field(default=False, description="Its times were guessed from its neighbours.")
    channel: Channel | None = Field(default=None, description="Where two channels were given.")


class LabelledSegment(BaseModel, defer_build=True):
    """A piece of the transcript that is attributed to one speaker."""

    text: str
    start: float | None
    end: float | None
    speaker: str | None = Field(description="Null where nobody is known to speak.")
    channel: Channel | None = Field(default=None, description="Where two channels were given.")


class LabelledTranscript(BaseModel, defer_build=True):
    """Who said what, and when."""

    text: str = Field(description="Everything that was said, without speakers.")
    language: str | None = None
    duration: float | None = Field(default=None, description="Of the recording, in seconds.")
    speakers: list[str] = Field(description="Those with a segment or a word, as they come in.")
    segments: list[LabelledSegment]
    words: list[LabelledWord] = Field(description="Empty where no words were given.")
    dual_mono: bool = Field(
        default=False, description="Both channels hold the same sound; the local one was left out."
    )
    bleed_removed: int = Field(
        default=0, description="Words that the local microphone only heard from the loudspeaker."
    )
    notes: list[str] = Field(default=[], description="What was not as it should be.")
