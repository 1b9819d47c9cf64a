"""Who said what: recognised words and a diarization's turns, joined into one transcript."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Effect, Operation, hookimpl

from .merging import merge
from .operation import label_transcript
from .rendering import Rendered, ResponseFormat, as_text, render

__all__ = ["Rendered", "ResponseFormat", "merge", "render"]


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Labelling."""
    return (Operation("transcripts.label", label_transcript, Effect.READ, render=as_text),)
