"""The embeddings server's stand-in, asked by the plugin that will ask the real one."""

from __future__ import annotations

import pytest
from spark_core_bge_m3.providers import open_embedder, open_reranker
from spark_core_bge_m3.settings import BgeM3Settings

from spark_core.errors import BackendError
from spark_core.testing.embedding import EmbedderConformance
from spark_core.testing.reranking import RerankerConformance

pytestmark = pytest.mark.anyio


class TestEmbedder(EmbedderConformance):
    """Over the stand-in an embedder keeps what it promises."""

    @pytest.fixture
    async def embedder(self, lab):
        async with open_embedder(BgeM3Settings(url=lab.bge_m3.url)) as embedder:
            yield embedder


class TestReranker(RerankerConformance):
    """Over the stand-in a reranker keeps what it promises."""

    @pytest.fixture
    async def reranker(self, lab):
        async with open_reranker(BgeM3Settings(url=lab.bge_m3.url)) as reranker:
            yield reranker


async def test_vectors_have_bge_m3s_dimension(lab, openai):
    client = openai(lab.bge_m3)
    answer = await client.embeddings.create(model="BAAI/bge-m3", input=["one", "two"])
    assert [len(item.embedding) for item in answer.data] == [1024, 1024]


@pytest.mark.parametrize("fault", ["wrong_dimension", "nan"])
async def test_vectors_that_are_wrong(lab, fault):
    """The plugin takes neither another dimension nor NaN."""
    async with open_embedder(BgeM3Settings(url=lab.bge_m3.url)) as embedder:
        assert len((await embedder.embed(["one"]))[0]) == 1024
        lab.bge_m3.faults.set(fault, times=1)
        with pytest.raises(BackendError):
            await embedder.embed(["one"])


async def test_what_is_no_text_is_unprocessable(lab, http):
    answer = await http.post(f"{lab.bge_m3.url}/v1/embeddings", json={"input": {"a": 1}})
    assert answer.status_code == 422
    answer = await http.post(f"{lab.bge_m3.url}/v1/rerank", json={"query": "x"})
    assert answer.status_code == 422


async def test_scores_may_be_nan(lab, http):
    lab.bge_m3.faults.set("nan", times=1)
    asked = {"query": "pump", "documents": ["pump"]}
    assert "NaN" in (await http.post(f"{lab.bge_m3.url}/v1/rerank", json=asked)).text
