"""Who said what: recognised words and a diarization's turns, joined into one transcript."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Composition, Effect, Operation, SettingsSection, hookimpl
from spark_core.gateway.relays import TRANSCRIPTIONS

from .answering import transcribe_with_speakers
from .merging import merge
from .operation import label_transcript
from .rendering import Rendered, ResponseFormat, as_text, render
from .settings import TranscriptsSettings

__all__ = ["Rendered", "ResponseFormat", "merge", "render"]


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.transcripts]``"""
    return (SettingsSection("plugins.transcripts", TranscriptsSettings),)


@hookimpl
def spark_register_compositions() -> Iterable[Composition]:
    """Transcriptions with speakers."""
    return (Composition(TRANSCRIPTIONS, "diarize", transcribe_with_speakers),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Labelling."""
    return (Operation("transcripts.label", label_transcript, Effect.READ, render=as_text),)
