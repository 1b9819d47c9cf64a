"""Vector store: Qdrant, embedded in a directory or as a server."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Provider, SettingsSection, hookimpl
from spark_core.contracts.vectors import VectorStore

from .settings import QdrantSettings


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.qdrant]``"""
    return (SettingsSection("plugins.qdrant", QdrantSettings),)


@hookimpl
def spark_register_vector_stores() -> Iterable[Provider[VectorStore]]:
    """One store, on the engine that the settings mean."""
    return (Provider("qdrant", "spark_core_qdrant.store:open_store", embedded=True),)
