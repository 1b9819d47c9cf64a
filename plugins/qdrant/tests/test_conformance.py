"""Both engines keep the vector store's contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from spark_core_qdrant.server import open_server
from spark_core_qdrant.settings import QdrantSettings
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import VectorStore
from spark_core.testing.vectors import VectorStoreConformance

from .processes import emptied_store
from .stand_in_server import StandIn


class TestEmbedded(VectorStoreConformance):
    """Qdrant Edge in its owner process."""

    @pytest.fixture
    async def store(self, shared_directory: Path) -> AsyncIterator[VectorStore]:
        async with emptied_store(shared_directory) as store:
            yield store


class TestServer(VectorStoreConformance):
    """The server's client over HTTP, to a stand-in for the server."""

    @pytest.fixture
    async def store(self, stand_in: StandIn) -> AsyncIterator[VectorStore]:
        async with open_server(QdrantSettings(url=stand_in.url)) as engine:
            yield QdrantStore(engine)
