"""A labelled transcript in the formats of ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, assert_never

from .models import LabelledSegment, LabelledTranscript

__all__ = ["Rendered", "ResponseFormat", "as_text", "render"]

ResponseFormat = Literal["json", "verbose_json", "text", "srt", "vtt"]


@dataclass(frozen=True)
class Rendered:
    """The body of an answer, and its type."""

    body: str
    media_type: str


def render(transcript: LabelledTranscript, response_format: ResponseFormat) -> Rendered:
    """*transcript* with its speakers, as *response_format* has it.

    ``text`` is a line for each time that somebody speaks, ``json`` the text and the segments,
    ``verbose_json`` everything. ``srt`` and ``vtt`` are subtitles; a segment without times is
    shown where the one before it ends.
    """
    match response_format:
        case "json":
            return _json({"text": transcript.text, "segments": _segments(transcript)})
        case "verbose_json":
            return _json(_verbose(transcript))
        case "text":
            return Rendered(f"{as_text(transcript)}\n", "text/plain; charset=utf-8")
        case "srt":
            return Rendered("\n".join(_srt(transcript)), "application/x-subrip; charset=utf-8")
        case "vtt":
            return Rendered("\n".join(_vtt(transcript)), "text/vtt; charset=utf-8")
        case _:
            assert_never(response_format)


def as_text(transcript: LabelledTranscript) -> str:
    """A line for each time that somebody speaks."""
    return "\n".join(_lines(transcript))


def _json(value: dict[str, Any]) -> Rendered:
    return Rendered(json.dumps(value, ensure_ascii=False), "application/json")


def _verbose(transcript: LabelledTranscript) -> dict[str, Any]:
    whole = transcript.model_dump(exclude={"segments", "words"})
    words = [word.model_dump() for word in transcript.words]
    return {"task": "transcribe", **whole, "segments": _segments(transcript), "words": words}


def _segments(transcript: LabelledTranscript) -> list[dict[str, Any]]:
    return [{"id": n, **segment.model_dump()} for n, segment in enumerate(transcript.segments)]


def _lines(transcript: LabelledTranscript) -> Iterator[str]:
    for speaker, group in groupby(transcript.segments, key=lambda segment: segment.speaker):
        text = " ".join(filter(None, (_one_line(segment.text) for segment in group)))
        if text:
            yield f"{_one_line(speaker)}: {text}" if speaker else text


# ------------------------------------------------------------------------------------- subtitles


def _srt(transcript: LabelledTranscript) -> Iterator[str]:
    for number, (start, end, segment) in enumerate(_cues(transcript), 1):
        prefix = f"{segment.speaker}: " if segment.speaker else ""
        said = _one_line(prefix + segment.text).replace("-->", "->")
        yield f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{said}\n"


def _vtt(transcript: LabelledTranscript) -> Iterator[str]:
    yield "WEBVTT\n"
    for start, end, segment in _cues(transcript):
        said = _escaped(segment.text)
        voice = f"<v {_escaped(segment.speaker)}>{said}</v>" if segment.speaker else said
        yield f"{_clock(start, '.')} --> {_clock(end, '.')}\n{voice}\n"


def _cues(transcript: LabelledTranscript) -> Iterator[tuple[int, int, LabelledSegment]]:
    """Each segment that says something, with its times in milliseconds; none is of no length."""
    reached = 0
    for segment in transcript.segments:
        start = reached if segment.start is None else round(segment.start * 1000)
        end = start if segment.end is None else round(segment.end * 1000)
        reached = max(end, start + 1)
        if segment.text.strip():
            yield start, reached, segment


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{rest:03}"


def _one_line(text: str) -> str:
    """An empty line would end a cue, or a line of text."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
