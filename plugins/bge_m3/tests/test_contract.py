"""Both providers keep their contracts, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from spark_core_bge_m3.providers import open_embedder, open_reranker
from spark_core_bge_m3.settings import BgeM3Settings

from spark_core.contracts.embedding import Embedder
from spark_core.contracts.reranking import Reranker
from spark_core.testing.embedding import EmbedderConformance
from spark_core.testing.reranking import RerankerConformance


class TestBgeM3Embedder(EmbedderConformance):
    @pytest.fixture
    async def embedder(self, server: Any) -> AsyncIterator[Embedder]:
        async with open_embedder(BgeM3Settings(url=server.url, batch=16)) as embedder:
            yield embedder


class TestBgeM3Reranker(RerankerConformance):
    @pytest.fixture
    async def reranker(self, server: Any) -> AsyncIterator[Reranker]:
        async with open_reranker(BgeM3Settings(url=server.url, batch=16)) as reranker:
            yield reranker
