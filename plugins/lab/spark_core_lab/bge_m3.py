"""The embeddings server: BGE-M3 and its reranker behind OpenAI's and Cohere's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .answers import STAND_IN, Answer, Call, Handler, Refused, in_json
from .backend import Backend
from .vectors import embeddings, reranked, texts_of

__all__ = ["BgeM3"]


class BgeM3(Backend):
    """Plain ``/v1/embeddings`` and ``/v1/rerank``, for both models whatever name is asked for."""

    name: ClassVar[str] = "bge_m3"
    default_port: ClassVar[int] = 8081
    default_models: ClassVar[tuple[str, ...]] = ("BAAI/bge-m3", "BAAI/bge-reranker-v2-m3")

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """What answers what."""
        return {
            ("GET", "/health"): self._health,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/embeddings"): self._embed,
            ("POST", "/v1/rerank"): self._rerank,
        }

    async def _health(self, call: Call) -> Answer:
        return in_json({"status": "ok"})

    async def _models(self, call: Call) -> Answer:
        cards = [{"id": name, "object": "model", "owned_by": STAND_IN} for name in self.models]
        return in_json({"object": "list", "data": cards})

    async def _embed(self, call: Call) -> Answer:
        body = self.json(call)
        try:
            body["input"] = texts_of(body.get("input"))
        except TypeError as error:
            raise Refused(self.failure(422, str(error))) from None
        await self.work()
        return embeddings(call, body, {"model": body.get("model") or self.models[0]})

    async def _rerank(self, call: Call) -> Answer:
        body = self.json(call)
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query, str) or not isinstance(documents, list):
            raise Refused(self.failure(422, "query and documents are required"))
        await self.work()
        results = reranked(call, query, documents, body.get("top_n"))
        return in_json({"model": body.get("model") or self.models[-1], "results": results})
