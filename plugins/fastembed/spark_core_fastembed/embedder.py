"""The embedder: one model and one thread that runs it, both made when they are first needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from spark_core.contracts.embedding import Purpose, Vector
from spark_core.errors import BackendError

from . import minilm
from .settings import FastembedSettings

if TYPE_CHECKING:
    from fastembed import TextEmbedding

__all__ = ["FastembedEmbedder", "open_embedder"]

T = TypeVar("T")

#: Characters of a text that are looked at: more than any model of fastembed reads.
LONGEST = 100_000


@asynccontextmanager
async def open_embedder(settings: FastembedSettings) -> AsyncIterator[FastembedEmbedder]:
    """An embedder whose model is loaded by the first text; closing waits for what runs."""
    embedder = FastembedEmbedder(settings)
    try:
        yield embedder
    finally:
        await embedder.aclose()


class FastembedEmbedder:
    """Runs a model in a thread of its own, one batch after another.

    Batches of several calls alternate, so a query never waits for the whole of a backfill.
    """

    def __init__(self, settings: FastembedSettings) -> None:
        self.model = settings.model
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fastembed")
        self._documents = asyncio.Lock()
        self._loaded: TextEmbedding | None = None

    async def aclose(self) -> None:
        """Wait for the batch that runs; drop those that wait."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._loaded = None

    async def preload(self) -> None:
        """Load the model, and run it once: the first run is slower than all others."""
        await self.embed(["ready"])

    async def dimension(self) -> int:
        """Known without loading the model.

        :raises SettingsError: fastembed does not know the model.
        """
        if self.model == minilm.MODEL:
            return minilm.DIMENSION
        return await self._run(self._dimension)

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose = Purpose.DOCUMENT
    ) -> Sequence[Vector]:
        """See :meth:`spark_core.contracts.embedding.Embedder.embed`.

        :raises SettingsError: the model is not known, or its directory is not one.
        :raises Unavailable: the model could not be downloaded.
        """
        # Texts of like length go together: each in a batch costs as much as its longest.
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        vectors: list[Vector] = [()] * len(texts)
        for start in range(0, len(order), self._settings.batch):
            places = order[start : start + self._settings.batch]
            batch = [_readable(texts[n]) for n in places]
            async with self._turn(purpose):
                embedded = await self._run(partial(self._embed, batch, purpose))
            for n, vector in zip(places, embedded, strict=True):
                vectors[n] = vector
        return vectors

    def _turn(self, purpose: Purpose) -> AbstractAsyncContextManager[None]:
        """Batches of documents go to the thread one by one, so that a query is next."""
        return nullcontext() if purpose is Purpose.QUERY else self._documents

    async def _run(self, work: Callable[[], T]) -> T:
        """Run *work* in the thread. A cancelled caller does not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # ------------------------------------------------------------------- in the thread

    def _dimension(self) -> int:
        from . import loading  # it imports fastembed

        return loading.dimension(self.model)

    def _embed(self, texts: list[str], purpose: Purpose) -> list[Vector]:
        if self._loaded is None:
            from . import loading

            self._loaded = loading.load(self._settings)
        query = purpose is Purpose.QUERY
        run = self._loaded.query_embed if query else self._loaded.passage_embed
        try:
            return [vector.tolist() for vector in run(texts)]
        except Exception as error:  # onnxruntime and tokenizers raise many kinds
            raise BackendError(
                f"the model {self.model} failed on {len(texts)} texts: {type(error).__name__}"
            ) from error


def _readable(text: str) -> str:
    """*text* as far as any model reads it; half a surrogate pair becomes a question mark."""
    return text[:LONGEST].encode("utf-8", "replace").decode()
