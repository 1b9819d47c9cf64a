"""What turns text into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

__all__ = ["Embedder", "Purpose", "Vector"]

#: A dense vector of finite 32-bit floats.
Vector = Sequence[float]


class Purpose(StrEnum):
    """What a text is embedded for: some models treat the two differently."""

    DOCUMENT = "document"
    QUERY = "query"


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into dense vectors of one fixed dimension."""

    @property
    def model(self) -> str:
        """The vector space's name: vectors of two models must never be mixed."""
        ...

    async def dimension(self) -> int:
        """The length of every vector; loads the model or asks the backend if need be."""
        ...

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose = Purpose.DOCUMENT
    ) -> Sequence[Vector]:
        """Embed *texts*: one vector each, in their order, all of :meth:`dimension`.

        Any number of texts is allowed, none included; batching is the embedder's matter.
        A text longer than the model reads is cut, not refused; the empty text is allowed.

        :raises Unavailable: the backend is down or too busy, also after retries.
        :raises BackendError: it answered with the wrong number of vectors, another
            dimension or a value that is not finite.
        """
        ...
