"""``[plugins.fastembed]``"""

from __future__ import annotations

from pydantic import Field

from spark_core import ConfigPath, Section

from .minilm import MODEL

__all__ = ["FastembedSettings"]


class FastembedSettings(Section):
    """Which model is run, and how."""

    model: str = Field(
        default=MODEL,
        description="A model that fastembed knows. The default one comes with this plugin; "
        "any other is downloaded by fastembed when it is first used.",
    )
    directory: ConfigPath | None = Field(
        default=None,
        description="A local copy of the model, so that nothing is downloaded: its ONNX file "
        "where fastembed expects it, tokenizer.json and tokenizer_config.json.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of the model, by default one per core."
    )
    batch: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Texts in one run of the model. A query waits for at most one run of a "
        "backfill, so keep it small.",
    )
