"""Joins the answers of two servers: of the recogniser and of the diarizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from spark_core.errors import BackendError

from .homes import segments_of
from .labelling import label
from .models import Foreign, LabelledTranscript, Seconds, Segment, Turn, Word

__all__ = ["checked", "merge"]

T = TypeVar("T", bound=BaseModel)


class Transcription(Foreign):
    """What a recogniser answers where ``verbose_json`` was asked for."""

    text: str = ""
    language: str | None = None
    duration: Seconds | None = None
    words: list[Word] | None = None
    segments: list[Segment] | None = None


class Diarization(Foreign):
    """What a diarizer answers: who speaks when."""

    duration: Seconds | None = None
    segments: list[Turn]


def merge(transcription: Mapping[str, Any], diarization: Mapping[str, Any]) -> LabelledTranscript:
    """The labelled transcript of a ``verbose_json`` and of a diarization's
    ``{"segments": [{"start", "end", "speaker"}]}``.

    A transcription that has neither words nor segments is kept as one text of nobody.

    :raises BackendError: one of them is not what it should be.
    """
    said = checked(Transcription, transcription, "transcription")
    spoken = checked(Diarization, diarization, "diarization")
    words, segments = said.words or [], said.segments or []
    if words and not segments:
        segments = segments_of(said.text, words)
    elif not segments and said.text.strip():
        segments = [Segment(text=said.text, start=0.0, end=said.duration)]
    transcript = label(words, segments, spoken.segments)
    duration = said.duration if said.duration is not None else spoken.duration
    return transcript.model_copy(update={"language": said.language, "duration": duration})


def checked(model: type[T], given: Mapping[str, Any], what: str) -> T:
    """*given* as *model*.

    :raises BackendError: it is not one; *what* it should be is named.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        detail = f"the {what} is not as it should be at {place}: {first['msg']}"
        raise BackendError(detail) from None
