"""``[plugins.transcripts]``"""

from __future__ import annotations

from pydantic import Field

from spark_core import Section

__all__ = ["TranscriptsSettings"]


class TranscriptsSettings(Section):
    """``[plugins.transcripts]``: how recordings are diarized."""

    diarize_whole_s: float = Field(
        default=600.0,
        ge=0,
        allow_inf_nan=False,
        description="The longest recording, in seconds, that is diarized at once. Longer ones are "
        "diarized in chunks, if they are WAV files.",
    )
    diarize_window_s: float = Field(
        default=60.0,
        ge=20,
        allow_inf_nan=False,
        description="The longest chunk, in seconds; each shares 10 s with the next.",
    )
