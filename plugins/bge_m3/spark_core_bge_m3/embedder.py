"""The embedder: ``POST /v1/embeddings`` in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field, FiniteFloat

from spark_core.contracts.embedding import Purpose, Vector
from spark_core.errors import BackendError

from .server import Server, in_order, readable

__all__ = ["BgeM3Embedder"]

PATH = "/v1/embeddings"


class Embedding(BaseModel):
    """One text's vector."""

    index: int
    embedding: list[FiniteFloat] = Field(min_length=1)


class Embeddings(BaseModel):
    """The answer, as far as it is used."""

    data: list[Embedding]


class BgeM3Embedder:
    """Asks a server for vectors. The first answer fixes their dimension."""

    def __init__(self, server: Server, model: str) -> None:
        self.model = model
        self._server = server
        self._dimension: int | None = None

    async def dimension(self) -> int:
        """That of the vectors so far; where there were none, of a short text's."""
        if self._dimension is None:
            await self.embed(["dimension"])
        assert self._dimension is not None  # every answer sets or checks it
        return self._dimension

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose = Purpose.DOCUMENT
    ) -> Sequence[Vector]:
        """See :meth:`spark_core.contracts.embedding.Embedder.embed`.

        *purpose* makes no difference: these models read queries as they read documents.
        """
        return await self._server.in_batches(texts, self._embed)

    async def _embed(self, texts: Sequence[str]) -> list[Vector]:
        body = {"model": self.model, "input": [readable(text) for text in texts]}
        answer = await self._server.ask(PATH, body, Embeddings)
        ordered = in_order(answer.data, len(texts), self._server.url + PATH)
        for item in ordered:
            self._check(len(item.embedding))
        return [item.embedding for item in ordered]

    def _check(self, length: int) -> None:
        if self._dimension is None:
            self._dimension = length
        if length != self._dimension:
            raise BackendError(
                f"{self._server.url}{PATH} answered with {length} dimensions for {self.model}, "
                f"after {self._dimension} before",
                hint="another model seems to be served; if that is meant, start again",
            )
