"""The embedder keeps its contract, with the real model, and needs no network for it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from spark_core_fastembed.embedder import FastembedEmbedder, open_embedder
from spark_core_fastembed.settings import FastembedSettings

from spark_core.testing.embedding import EmbedderConformance, cosine


@pytest.fixture(scope="class", autouse=True)
def offline() -> Iterator[None]:
    """Nobody may connect anywhere, or look up a name."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the embedder used the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


class TestFastembedEmbedder(EmbedderConformance):
    @pytest.fixture(scope="class")
    @classmethod
    async def embedder(cls) -> AsyncIterator[FastembedEmbedder]:
        async with open_embedder(FastembedSettings(threads=1)) as embedder:
            yield embedder

    async def test_vectors_have_length_one(self, embedder: FastembedEmbedder) -> None:
        """Vectors are normalised, the empty text's too."""
        for vector in await embedder.embed(["Ada Example", ""]):
            assert cosine(vector, vector) == pytest.approx(1.0)
            assert sum(x * x for x in vector) == pytest.approx(1.0, abs=1e-5)

    async def test_what_means_the_same_is_near(self, embedder: FastembedEmbedder) -> None:
        """The model understands English: no word is shared with the nearest text."""
        query, near, far = await embedder.embed(
            ["Who repairs cars?", "An automobile mechanic.", "The recipe needs two eggs."]
        )
        assert cosine(query, near) > 0.4 > cosine(query, far)

    async def test_known_vector(self, embedder: FastembedEmbedder) -> None:
        """The pooling and the tokenizer are the model's own: a vector is as published."""
        first, second = await embedder.embed(
            ["This is an example sentence", "Each sentence is converted"]
        )
        assert first[:3] == pytest.approx([0.0676, 0.0635, 0.0487], abs=0.004)
        assert second[:3] == pytest.approx([0.0864, 0.1027, 0.0054], abs=0.004)

    async def test_text_is_cut_at_256_tokens(self, embedder: FastembedEmbedder) -> None:
        """What comes after the 254th word piece makes no difference; before, it does."""
        text = "bearing " * 253
        last, beyond, other = await embedder.embed(
            [text + "pump", text + "pump and a recipe with two eggs", text + "eggs"]
        )
        assert cosine(last, beyond) > 0.9999 > cosine(last, other)
