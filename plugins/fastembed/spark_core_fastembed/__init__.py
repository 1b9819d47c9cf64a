"""The local embedder: an ONNX model in this process, used where no other is configured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spark_core import Provider, SettingsSection, hookimpl

if TYPE_CHECKING:
    from spark_core.contracts.embedding import Embedder


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.fastembed]``"""
    return (
        SettingsSection("plugins.fastembed", "spark_core_fastembed.settings:FastembedSettings"),
    )


@hookimpl
def spark_register_embedders() -> Iterable[Provider[Embedder]]:
    """The embedded default."""
    module = "spark_core_fastembed.embedder"
    open, preload = f"{module}:open_embedder", f"{module}:FastembedEmbedder.preload"
    return (Provider("fastembed", open, embedded=True, preload=preload),)
