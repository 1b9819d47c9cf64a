"""Who said what: recognised words and a diarization's turns, joined into one transcript."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spark_core import Composition, Effect, Operation, SettingsSection, hookimpl
from spark_core.gateway.relays import TRANSCRIPTIONS

if TYPE_CHECKING:
    from .merging import merge
    from .rendering import Rendered, ResponseFormat, render

__all__ = ["Rendered", "ResponseFormat", "merge", "render"]


def __getattr__(name: str) -> Any:
    # Imported when it is used: this module is, whenever any host starts.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "merging" if name == "merge" else "rendering"
    return getattr(importlib.import_module(f".{home}", __name__), name)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.transcripts]``"""
    return (
        SettingsSection(
            "plugins.transcripts", "spark_core_transcripts.settings:TranscriptsSettings"
        ),
    )


@hookimpl
def spark_register_compositions() -> Iterable[Composition]:
    """Transcriptions with speakers."""
    return (
        Composition(
            TRANSCRIPTIONS, "diarize", "spark_core_transcripts.answering:transcribe_with_speakers"
        ),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Labelling."""
    return (
        Operation(
            "transcripts.label",
            "spark_core_transcripts.operation:label_transcript",
            Effect.READ,
            render="spark_core_transcripts.rendering:as_text",
            summary="Say who said what: join recognised words or segments with a "
            "diarization's turns.",
        ),
    )
