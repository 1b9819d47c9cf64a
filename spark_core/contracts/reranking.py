"""What puts texts in order by how well they answer a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = ["Reranker"]


@runtime_checkable
class Reranker(Protocol):
    """Scores texts against a query with a cross-encoder or the like."""

    @property
    def model(self) -> str:
        """The model's name, as answers show it."""
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Score each of *texts* against *query*: one finite number each, in their order.

        Higher is better; the scale is the model's own.

        :raises Unavailable: the backend is down or too busy, also after retries.
        :raises BackendError: it answered with something else than one score per text.
        """
        ...
