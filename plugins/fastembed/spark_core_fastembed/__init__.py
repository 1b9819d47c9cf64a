"""The local embedder: an ONNX model in this process, used where no other is configured."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Provider, SettingsSection, hookimpl
from spark_core.contracts.embedding import Embedder

from .embedder import FastembedEmbedder, open_embedder
from .settings import FastembedSettings


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.fastembed]``"""
    return (SettingsSection("plugins.fastembed", FastembedSettings),)


@hookimpl
def spark_register_embedders() -> Iterable[Provider[Embedder]]:
    """The embedded default."""
    return (Provider("fastembed", open_embedder, embedded=True, preload=FastembedEmbedder.preload),)
