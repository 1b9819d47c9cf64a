"""BGE-M3 over HTTP: the production embedder and reranker, and a backend of the gateway."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import BackendKind, Provider, SettingsSection, hookimpl
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.reranking import Reranker

from .backend import KIND
from .settings import BgeM3Settings, is_configured


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.bge_m3]``"""
    return (SettingsSection("plugins.bge_m3", BgeM3Settings),)


@hookimpl
def spark_register_embedders() -> Iterable[Provider[Embedder]]:
    """``POST /v1/embeddings``"""
    return (
        Provider("bge_m3", "spark_core_bge_m3.providers:open_embedder", configured=is_configured),
    )


@hookimpl
def spark_register_rerankers() -> Iterable[Provider[Reranker]]:
    """``POST /v1/rerank``"""
    return (
        Provider("bge_m3", "spark_core_bge_m3.providers:open_reranker", configured=is_configured),
    )


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """Both routes, relayed."""
    return (KIND,)
