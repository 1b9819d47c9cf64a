"""Both engines keep the vector store's contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.server import open_server
from spark_core_qdrant.settings import QdrantSettings
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import VectorStore
from spark_core.testing.vectors import VectorStoreConformance

from .stand_in_server import StandIn


class TestEmbedded(VectorStoreConformance):
    """Qdrant Edge in its owner process."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[VectorStore]:
        async with open_embedded(tmp_path / "index", idle=2.0) as engine:
            yield QdrantStore(engine)


class TestServer(VectorStoreConformance):
    """The server's client over HTTP, to a stand-in for the server."""

    @pytest.fixture
    async def store(self, stand_in: StandIn) -> AsyncIterator[VectorStore]:
        async with open_server(QdrantSettings(url=stand_in.url)) as engine:
            yield QdrantStore(engine)
