"""Annotations in the index: found as soon as they are written, and in every index built later.

Their points bear a mark (``origin``), by which the books that are kept of the CRM's records leave
them alone: no run is needed to find a note, and none takes it for a stray.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from spark_core.contracts.embedding import Embedder
from spark_core.contracts.vectors import Collection, Hit, Point, VectorStore
from spark_core.errors import Conflict, NotFound

from ..chunking import chunks
from ..settings import IngestSettings
from .store import KINDS, NAMESPACE, Annotation, Annotations

__all__ = ["MARK", "AnnotationIndex", "is_annotation", "open_annotation_index"]

#: What only the points of annotations have; the kind comes first, since stores have an index of it.
MARK: Final[Mapping[str, Any]] = {"kind": list(KINDS), "origin": "annotation"}


def is_annotation(hit: Hit) -> bool:
    """Whether *hit* is a piece of an annotation, not of a record of the CRM."""
    return bool(hit.payload.get("origin") == MARK["origin"])


@asynccontextmanager
async def open_annotation_index(
    settings: IngestSettings, store: VectorStore, embedder: Embedder, annotations: Annotations
) -> AsyncIterator[AnnotationIndex]:
    """The annotations in the index that settings name."""
    yield AnnotationIndex(settings, store, embedder, annotations)


class AnnotationIndex:
    """Keeps the index in line with the annotations."""

    def __init__(
        self,
        settings: IngestSettings,
        store: VectorStore,
        embedder: Embedder,
        annotations: Annotations,
    ) -> None:
        self._settings = settings
        self._store = store
        self._embedder = embedder
        self._annotations = annotations

    async def exchange(self, gone: Sequence[Annotation], come: Sequence[Annotation]) -> None:
        """Let searches find *come*, and *gone* no more.

        Also in an index that is being built: it may have read the annotations before, and come
        in the old one's place while this goes on. So it comes first.

        :raises NotFound: there is no index yet.
        :raises SparkError: it cannot be written to.
        """
        points = await self._points(come)
        name = self._settings.collection
        with suppress(NotFound):
            await self._write(self._store.collection(f"{name}__building"), gone, points)
        await self._write(self._store.collection(name), gone, points)

    async def _write(
        self, collection: Collection, gone: Sequence[Annotation], points: Sequence[Point]
    ) -> None:
        if points:
            await self._check(collection)
            await collection.upsert(points)
        if gone:
            await collection.delete(filter={"record": [_record(old) for old in gone]})
        await collection.flush()

    async def _check(self, collection: Collection) -> None:
        built_with = (await collection.describe()).spec.embedder
        if built_with != self._embedder.model:
            raise Conflict(
                f"the index was built with {built_with}, not with {self._embedder.model}",
                hint="build it anew: spark ingest backfill --recreate",
            )

    async def reconcile(self, collection: Collection) -> None:
        """Embed the annotations that *collection* has not, and remove those that are gone."""
        indexed = await _indexed(collection)
        async for some in self._annotations.everything():
            missing = [new for new in some if not indexed.pop(_record(new), False)]
            if missing:
                await collection.upsert(await self._points(missing))
                left = {one.id for one in await self._annotations.named([m.id for m in missing])}
                indexed |= {_record(one): True for one in missing if one.id not in left}
        if indexed:
            await collection.delete(filter={"record": list(indexed)})

    async def _points(self, annotations: Sequence[Annotation]) -> list[Point]:
        pieces = [
            (one, number, piece)
            for one in annotations
            for number, piece in enumerate(chunks(one.text, self._settings.chunk_characters))
        ]
        texts = [f"{one.title}\n{piece}".strip() for one, _, piece in pieces]
        vectors = await self._embedder.embed(texts) if texts else ()
        return [
            Point(
                id=str(uuid.uuid5(NAMESPACE, json.dumps([one.id, number]))),
                vector=vector,
                text=piece,
                payload=_payload(one, number),
            )
            for (one, number, piece), vector in zip(pieces, vectors, strict=True)
        ]


async def _indexed(collection: Collection) -> dict[str, bool]:
    """The annotations that there are points of."""
    found: dict[str, bool] = {}
    after = None
    while hits := await collection.scroll(filter=MARK, after=after, limit=500):
        after = hits[-1].id
        found |= {hit.payload["record"]: True for hit in hits}
    return found


def _record(annotation: Annotation) -> str:
    return json.dumps([annotation.kind, annotation.id])


def _payload(annotation: Annotation, piece: int) -> dict[str, Any]:
    return {
        "kind": annotation.kind,
        "record_id": annotation.id,
        "record": _record(annotation),
        "title": annotation.title,
        "occurrence": 0,
        "piece": piece,
        "origin": MARK["origin"],
        "metadata": {
            "about_kind": annotation.about_kind,
            "about_id": annotation.about_id,
            "author": annotation.author,
            "at": annotation.at.isoformat(),
        },
    }
