"""Our client and the real server together keep the contracts."""

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


class TestEmbeddings(EmbedderConformance):
    @pytest.fixture
    async def embedder(self, serving: Any, load: Any) -> AsyncIterator[Embedder]:
        async with (
            serving(load) as url,
            open_embedder(BgeM3Settings(url=url, batch=16)) as embedder,
        ):
            yield embedder


class TestRerank(RerankerConformance):
    @pytest.fixture
    async def reranker(self, serving: Any, load: Any) -> AsyncIterator[Reranker]:
        async with (
            serving(load) as url,
            open_reranker(BgeM3Settings(url=url, batch=16)) as reranker,
        ):
            yield reranker
