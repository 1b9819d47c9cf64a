"""The fake vector store keeps the contract, so tests that use it mean something."""

from __future__ import annotations

import pytest

from spark_core.contracts.vectors import VectorStore
from spark_core.testing.vectors import FakeVectorStore, VectorStoreConformance


class TestFake(VectorStoreConformance):
    """In memory."""

    @pytest.fixture
    async def store(self) -> VectorStore:
        return FakeVectorStore()
