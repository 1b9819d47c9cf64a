"""The lifetimes of the embedder and of the reranker; what imports httpx is imported here late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spark_core.contracts.embedding import Embedder
from spark_core.contracts.reranking import Reranker

from .settings import BgeM3Settings

__all__ = ["open_embedder", "open_reranker"]


@asynccontextmanager
async def open_embedder(settings: BgeM3Settings) -> AsyncIterator[Embedder]:
    """An embedder with connections of its own; nothing is asked yet.

    :raises NotConfigured: settings name no server.
    """
    from .embedder import BgeM3Embedder
    from .server import Server

    async with Server.open(settings) as server:
        yield BgeM3Embedder(server, settings.model)


@asynccontextmanager
async def open_reranker(settings: BgeM3Settings) -> AsyncIterator[Reranker]:
    """A reranker with connections of its own; nothing is asked yet.

    :raises NotConfigured: settings name no server.
    """
    from .reranker import BgeM3Reranker
    from .server import Server

    async with Server.open(settings) as server:
        yield BgeM3Reranker(server, settings.rerank_model)
