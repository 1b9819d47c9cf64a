"""The reranker: ``POST /v1/rerank``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import AliasChoices, BaseModel, Field, FiniteFloat

from .server import Server, in_order, readable

__all__ = ["BgeM3Reranker"]

PATH = "/v1/rerank"


class Result(BaseModel):
    """One text's score; servers call it by one of two names."""

    index: int
    score: FiniteFloat = Field(validation_alias=AliasChoices("relevance_score", "score"))


class Results(BaseModel):
    """The answer, as far as it is used."""

    results: list[Result]


class BgeM3Reranker:
    """Asks a server for scores."""

    def __init__(self, server: Server, model: str) -> None:
        self.model = model
        self._server = server

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See :meth:`spark_core.contracts.reranking.Reranker.rerank`."""
        return await self._server.in_batches(texts, partial(self._score, query))

    async def _score(self, query: str, texts: Sequence[str]) -> list[float]:
        documents = [readable(text) for text in texts]
        body = {"model": self.model, "query": readable(query), "documents": documents}
        answer = await self._server.ask(PATH, body, Results)
        ordered = in_order(answer.results, len(texts), self._server.url + PATH)
        return [result.score for result in ordered]
