"""Both engines keep the vector store's contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.server import ServerEngine
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import VectorStore
from spark_core.testing.vectors import VectorStoreConformance


class TestEmbedded(VectorStoreConformance):
    """Qdrant Edge in its owner process."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[VectorStore]:
        async with open_embedded(tmp_path / "index", idle=2.0) as engine:
            yield QdrantStore(engine)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
class TestServer(VectorStoreConformance):
    """The server's client, over its own local mode."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[VectorStore]:
        client = AsyncQdrantClient(":memory:")
        yield QdrantStore(ServerEngine(client, "memory"))
        await client.close()
