"""Short ways to write words, segments and turns."""

from __future__ import annotations

from spark_core_transcripts.models import LabelledTranscript, Segment, Turn, Word

__all__ = ["segments", "speakers", "texts", "turns", "words"]


def words(*given: tuple[str, float | None, float | None]) -> list[Word]:
    """Words of ``(word, start, end)``."""
    return [Word(word=word, start=start, end=end) for word, start, end in given]


def segments(*given: tuple[str, float | None, float | None]) -> list[Segment]:
    """Segments of ``(text, start, end)``."""
    return [Segment(text=text, start=start, end=end) for text, start, end in given]


def turns(*given: tuple[str, float, float]) -> list[Turn]:
    """Turns of ``(speaker, start, end)``."""
    return [Turn(start=start, end=end, speaker=speaker) for speaker, start, end in given]


def speakers(transcript: LabelledTranscript) -> list[str | None]:
    """Who said each word."""
    return [word.speaker for word in transcript.words]


def texts(transcript: LabelledTranscript) -> list[tuple[str | None, str]]:
    """Who said each segment, and its text."""
    return [(segment.speaker, segment.text) for segment in transcript.segments]
