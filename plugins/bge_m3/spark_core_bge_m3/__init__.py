"""BGE-M3 over HTTP: the production embedder and reranker, and a backend of the gateway."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spark_core import BackendKind, Provider, SettingsSection, hookimpl

from .backend import KIND, SETTINGS

if TYPE_CHECKING:
    from spark_core.contracts.embedding import Embedder
    from spark_core.contracts.reranking import Reranker

_CONFIGURED = "spark_core_bge_m3.settings:is_configured"


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.bge_m3]``"""
    return (SettingsSection("plugins.bge_m3", SETTINGS),)


@hookimpl
def spark_register_embedders() -> Iterable[Provider[Embedder]]:
    """``POST /v1/embeddings``"""
    return (
        Provider("bge_m3", "spark_core_bge_m3.providers:open_embedder", configured=_CONFIGURED),
    )


@hookimpl
def spark_register_rerankers() -> Iterable[Provider[Reranker]]:
    """``POST /v1/rerank``"""
    return (
        Provider("bge_m3", "spark_core_bge_m3.providers:open_reranker", configured=_CONFIGURED),
    )


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """Both routes, relayed."""
    return (KIND,)
