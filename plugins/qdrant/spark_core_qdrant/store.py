"""The vector store of the contract, over whichever engine the settings mean."""

from __future__ import annotations

import math
import re
import uuid
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from spark_core import DataDirectory
from spark_core.contracts.embedding import Vector
from spark_core.contracts.vectors import (
    CollectionInfo,
    CollectionSpec,
    Filter,
    Hit,
    Mode,
    Point,
    Query,
    VectorStore,
)
from spark_core.errors import Conflict, InvalidRequest, Problem

from .engine import Build, Engine, Found, Row, Search
from .filters import field_path
from .payloads import check_json, check_text, refused
from .settings import QdrantSettings

__all__ = ["QdrantCollection", "QdrantStore", "open_store"]

#: More hits than any collection has points; the engines count in numbers of 64 bits.
MOST = 2**32


@asynccontextmanager
async def open_store(settings: QdrantSettings, data: DataDirectory) -> AsyncIterator[VectorStore]:
    """Open the store on a server where there is a URL, else embedded."""
    async with _open_engine(settings, data) as engine:
        yield QdrantStore(engine, settings.language)


def _open_engine(
    settings: QdrantSettings, data: DataDirectory
) -> AbstractAsyncContextManager[Engine]:
    """Engines are imported here: a program that uses one does not pay for the other."""
    if settings.address():
        from .server import open_server

        return open_server(settings)
    from .embedded import open_embedded

    return open_embedded(settings.directory or data.made() / "qdrant", settings.idle_s)


class QdrantStore:
    """Collections on one engine."""

    def __init__(self, engine: Engine, language: str = "english") -> None:
        self._engine = engine
        self._language = language

    def collection(self, name: str) -> QdrantCollection:
        """See :meth:`spark_core.contracts.vectors.VectorStore.collection`."""
        return QdrantCollection(self._engine, _checked(name), self._language)

    async def collections(self) -> Sequence[CollectionInfo]:
        """See :meth:`spark_core.contracts.vectors.VectorStore.collections`."""
        return [await self.collection(name).describe() for name in await self._names()]

    async def _names(self) -> list[str]:
        return sorted(await self._engine.collections())

    async def create(self, name: str, spec: CollectionSpec) -> CollectionInfo:
        """See :meth:`spark_core.contracts.vectors.VectorStore.create`."""
        build = Build(
            generation=uuid.uuid4().hex,
            created_at=datetime.now(UTC).isoformat(),
            dimension=spec.dimension,
            embedder=spec.embedder,
            average_length=spec.average_length,
            indexed=list(spec.indexed),
            language=self._language,
        )
        self.lengths(())  # a language that BM25 does not know is refused here
        for field in spec.indexed:
            field_path(field)  # and so is a name that cannot be one
        await self._engine.create(_checked(name), build)
        return _info(name, build, points=0)

    async def drop(self, name: str) -> None:
        """See :meth:`spark_core.contracts.vectors.VectorStore.drop`."""
        await self._engine.drop(_checked(name))

    async def replace(self, name: str, *, by: str) -> CollectionInfo:
        """See :meth:`spark_core.contracts.vectors.VectorStore.replace`."""
        if _checked(name) == _checked(by):
            raise Conflict(f"collection {name} cannot replace itself")
        build = await self._engine.describe(by)
        await self._engine.replace(name, by, build["generation"])
        return await self.collection(name).describe()

    def lengths(self, texts: Sequence[str]) -> Sequence[int]:
        """See :meth:`spark_core.contracts.vectors.VectorStore.lengths`."""
        from .sparse import lengths

        return lengths(texts, self._language)


class QdrantCollection:
    """The points of one collection."""

    def __init__(self, engine: Engine, name: str, language: str) -> None:
        self._engine = engine
        self._name = name
        self._language = language

    async def describe(self) -> CollectionInfo:
        """See :meth:`spark_core.contracts.vectors.Collection.describe`."""
        build = await self._engine.describe(self._name)
        info = _info(self._name, build, await self._engine.count(self._name, None))
        return info.model_copy(update={"outdated": build["language"] != self._language})

    async def upsert(self, points: Sequence[Point]) -> None:
        """See :meth:`spark_core.contracts.vectors.Collection.upsert`."""
        rows = [_row(index, point) for index, point in enumerate(points)]
        if rows:
            await self._engine.upsert(self._name, rows)

    async def delete(self, *, ids: Sequence[str] = (), filter: Filter | None = None) -> None:
        """See :meth:`spark_core.contracts.vectors.Collection.delete`."""
        checked = [_uuid(id, f"/ids/{index}") for index, id in enumerate(ids)]
        if checked or filter:
            await self._engine.delete(self._name, checked, _plain(filter))

    async def search(self, query: Query) -> Sequence[Hit]:
        """See :meth:`spark_core.contracts.vectors.Collection.search`."""
        search = Search(
            dense=_leg(query.mode, Mode.SPARSE, "vector", query.vector, _float32),
            embedder=query.embedder,
            text=_leg(query.mode, Mode.DENSE, "text", query.text, _unicode),
            limit=min(query.limit, MOST),
            filter=_plain(query.filter),
            group_by=query.group_by,
        )
        return [_hit(found) for found in await self._engine.search(self._name, search)]

    async def scroll(
        self, *, filter: Filter | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[Hit]:
        """See :meth:`spark_core.contracts.vectors.Collection.scroll`."""
        after = None if after is None else _uuid(after, "/after")
        if limit < 1:
            raise refused("/limit", "a page has at least one point")
        found = await self._engine.scroll(self._name, _plain(filter), after, min(limit, MOST))
        return [_hit(one) for one in found]

    async def count(self, filter: Filter | None = None) -> int:
        """See :meth:`spark_core.contracts.vectors.Collection.count`."""
        return await self._engine.count(self._name, _plain(filter))

    async def flush(self) -> None:
        """See :meth:`spark_core.contracts.vectors.Collection.flush`."""
        await self._engine.flush(self._name)


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name):
        detail = "letters, digits, - and _, at most 128 of them, are what a collection's name has"
        raise InvalidRequest(detail, problems=[Problem("/collection", detail)])
    return name


def _info(name: str, build: Build, points: int) -> CollectionInfo:
    spec = CollectionSpec(
        dimension=build["dimension"],
        embedder=build["embedder"],
        average_length=build["average_length"],
        indexed=tuple(build["indexed"]),
    )
    created_at = datetime.fromisoformat(build["created_at"])
    return CollectionInfo(
        name=name, generation=build["generation"], created_at=created_at, points=points, spec=spec
    )


def _row(index: int, point: Point) -> Row:
    if "text" in point.payload:
        raise refused(f"/{index}/payload/text", "text is the point's own, not the payload's")
    payload = dict(point.payload)
    check_json(payload, f"/{index}/payload")
    check_text(point.text, f"/{index}/text")
    vector = _float32(point.vector, f"/{index}/vector")
    return _uuid(point.id, f"/{index}/id"), vector, point.text, payload


def _float32(vector: Vector, pointer: str = "/vector") -> bytes:
    """*vector* as bytes. The engine would take a value that is not finite, and never find it."""
    try:
        numbers = array("f", vector)
    except (TypeError, OverflowError):
        raise refused(pointer, "a vector is a sequence of numbers") from None
    if not math.isfinite(sum(numbers)):  # one that is not finite makes the sum so
        raise refused(pointer, "a vector's numbers must be finite")
    return numbers.tobytes()


def _unicode(text: str) -> str:
    check_text(text, "/text")
    return text


def _uuid(id: str, pointer: str) -> str:
    try:
        return str(uuid.UUID(id))
    except (ValueError, AttributeError):
        raise refused(pointer, "a point's id is a UUID") from None


def _leg(mode: Mode, other: Mode, what: str, value: Any, convert: Any) -> Any:
    """The query's *value* for one leg; ``None`` where *mode* asks the *other* one alone."""
    if mode is other:
        return None
    if value is None:
        raise refused(f"/{what}", f"a {mode} query needs a {what}")
    return convert(value)


def _plain(filter: Filter | None) -> dict[str, Any] | None:
    if not filter:
        return None
    scalar = (str, int, float, type(None))
    plain = {k: v if isinstance(v, scalar) else list(v) for k, v in filter.items()}
    check_json(plain, "/filter")
    return plain


def _hit(found: Found) -> Hit:
    id, score, payload, dense, sparse = found
    dense_rank, dense_score = dense or (None, None)
    sparse_rank, sparse_score = sparse or (None, None)
    text = payload.pop("text", "")
    return Hit(
        id=id,
        score=score,
        text=text,
        payload=payload,
        dense_rank=dense_rank,
        sparse_rank=sparse_rank,
        dense_score=dense_score,
        sparse_score=sparse_score,
    )
