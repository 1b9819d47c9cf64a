"""The local embedder: an ONNX model in this process, used where no other is configured."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Provider, SettingsSection, hookimpl
from spark_core.contracts.embedding import Embedder

from .settings import FastembedSettings


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.fastembed]``"""
    return (SettingsSection("plugins.fastembed", FastembedSettings),)


@hookimpl
def spark_register_embedders() -> Iterable[Provider[Embedder]]:
    """The embedded default."""
    module = "spark_core_fastembed.embedder"
    open, preload = f"{module}:open_embedder", f"{module}:FastembedEmbedder.preload"
    return (Provider("fastembed", open, embedded=True, preload=preload),)
