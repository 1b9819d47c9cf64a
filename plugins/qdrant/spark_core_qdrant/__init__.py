"""Vector store: Qdrant, embedded in a directory or as a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spark_core import Provider, SettingsSection, hookimpl

if TYPE_CHECKING:
    from spark_core.contracts.vectors import VectorStore


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.qdrant]``"""
    return (SettingsSection("plugins.qdrant", "spark_core_qdrant.settings:QdrantSettings"),)


@hookimpl
def spark_register_vector_stores() -> Iterable[Provider[VectorStore]]:
    """One store, on the engine that the settings mean."""
    return (Provider("qdrant", "spark_core_qdrant.store:open_store", embedded=True),)
