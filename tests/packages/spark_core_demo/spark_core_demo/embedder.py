"""An embedder that counts words: it needs no model, and knows no meaning."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from spark_core.contracts.embedding import Embedder, Purpose, Vector

from .settings import DemoSettings

#: Words of a text that are looked at.
LONGEST = 5000


@asynccontextmanager
async def open_embedder(settings: DemoSettings) -> AsyncIterator[Embedder]:
    """The embedder's lifetime: there is nothing to open, and nothing to close."""
    yield DemoEmbedder(settings.dimension)


class DemoEmbedder:
    """Each word adds one to the place that its checksum gives it."""

    def __init__(self, dimension: int) -> None:
        self.model = f"demo-{dimension}"
        self._dimension = dimension

    async def dimension(self) -> int:
        """As long as the settings say."""
        return self._dimension

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose = Purpose.DOCUMENT
    ) -> Sequence[Vector]:
        """Count the words; *purpose* makes no difference."""
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> Vector:
        counts = [0.0] * self._dimension
        counts[0] = 1.0  # so that a text without words has a direction, too
        for word in text.lower().split()[:LONGEST]:
            counts[zlib.crc32(word.encode("utf-8", "replace")) % self._dimension] += 1.0
        length = math.hypot(*counts)
        return [count / length for count in counts]
