"""A vector store in memory: exact, small, and all arithmetic in the open."""

from __future__ import annotations

import math
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..contracts.records import Scalar
from ..contracts.vectors import (
    CollectionInfo,
    CollectionSpec,
    Filter,
    Hit,
    Mode,
    Point,
    Query,
)
from ..errors import Conflict, InvalidRequest, NotFound

__all__ = ["FakeCollection", "FakeVectorStore"]

STOP_WORDS = frozenset({"the", "a", "an", "and", "or", "for", "of", "to", "in", "is"})


def _tokens(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.lower()) if word not in STOP_WORDS]


class FakeVectorStore:
    """A vector store in memory, for tests: exact, small, and gone with the process."""

    def __init__(self) -> None:
        self._collections: dict[str, _FakeCollection] = {}

    def collection(self, name: str) -> FakeCollection:
        """See :class:`~spark_core.contracts.vectors.VectorStore`, here and below."""
        return FakeCollection(self._collections, _checked(name))

    async def collections(self) -> Sequence[CollectionInfo]:
        """Every collection, by name."""
        return [self._collections[name].info(name) for name in sorted(self._collections)]

    async def create(self, name: str, spec: CollectionSpec) -> CollectionInfo:
        """Make an empty collection."""
        if _checked(name) in self._collections:
            raise Conflict(f"there is a collection {name!r} already")
        made = self._collections[name] = _FakeCollection(spec)
        return made.info(name)

    async def drop(self, name: str) -> None:
        """Delete a collection."""
        self._collections.pop(_checked(name), None)

    async def replace(self, name: str, *, by: str) -> CollectionInfo:
        """Switch a collection."""
        found = self.collection(by).found()
        self._collections[_checked(name)] = found
        del self._collections[by]
        return found.info(name)

    def lengths(self, texts: Sequence[str]) -> Sequence[int]:
        """Words, but for a few stop words."""
        return [len(_tokens(text)) for text in texts]


class _FakeCollection:
    def __init__(self, spec: CollectionSpec) -> None:
        self.spec = spec
        self.generation = uuid.uuid4().hex
        self.created_at = datetime.now(UTC)
        self.points: dict[str, Point] = {}

    def info(self, name: str) -> CollectionInfo:
        return CollectionInfo(
            name=name,
            generation=self.generation,
            created_at=self.created_at,
            points=len(self.points),
            spec=self.spec,
        )


class FakeCollection:
    """The points of one collection in memory."""

    def __init__(self, collections: dict[str, _FakeCollection], name: str) -> None:
        self._collections = collections
        self._name = name

    def found(self) -> _FakeCollection:
        """What holds the points.

        :raises NotFound: there is no such collection.
        """
        if self._name not in self._collections:
            raise NotFound(f"there is no collection {self._name!r}")
        return self._collections[self._name]

    async def describe(self) -> CollectionInfo:
        """See :class:`~spark_core.contracts.vectors.Collection`, here and below."""
        return self.found().info(self._name)

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store points."""
        found = self.found()
        for point in points:
            _check_uuid(point.id)
            _check_vector(point.vector, found.spec.dimension)
        found.points.update({point.id: point for point in points})

    async def delete(self, *, ids: Sequence[str] = (), filter: Filter | None = None) -> None:
        """Delete points."""
        found = self.found()
        matching = [p.id for p in _matching(found, filter)] if filter else []
        for id in (*ids, *matching):
            found.points.pop(id, None)

    async def search(self, query: Query) -> Sequence[Hit]:
        """Score every point."""
        found = self.found()
        if query.embedder not in (None, found.spec.embedder):
            raise Conflict(f"the collection was built with {found.spec.embedder}")
        points = list(_matching(found, query.filter))
        legs = {}
        if query.mode is not Mode.SPARSE:
            legs["dense"] = _dense(points, query.vector, found.spec.dimension)
        if query.mode is not Mode.DENSE:
            legs["sparse"] = _sparse(found, points, query.text)
        return list(_grouped(_fused(found, legs), query))[: query.limit]

    async def scroll(
        self, *, filter: Filter | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[Hit]:
        """Points by id."""
        points = sorted(_matching(self.found(), filter), key=lambda point: point.id)
        behind = [point for point in points if after is None or point.id > after]
        return [_hit(point, 0.0) for point in behind[:limit]]

    async def count(self, filter: Filter | None = None) -> int:
        """Count points."""
        return len(list(_matching(self.found(), filter)))

    async def flush(self) -> None:
        """Nothing survives anyway."""


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name):
        raise InvalidRequest("that is no collection's name")
    return name


def _check_uuid(id: str) -> None:
    try:
        uuid.UUID(id)
    except ValueError:
        raise InvalidRequest("a point's id is a UUID") from None


def _check_vector(vector: Sequence[float] | None, dimension: int) -> None:
    if vector is None or len(vector) != dimension or not all(map(math.isfinite, vector)):
        raise InvalidRequest(f"a vector has {dimension} finite numbers")


def _matching(found: _FakeCollection, filter: Filter | None) -> Iterable[Point]:
    return [p for p in found.points.values() if _matches(p.payload, filter or {})]


def _matches(payload: Mapping[str, Any], filter: Filter) -> bool:
    return all(_has(payload, key.split("."), wanted) for key, wanted in filter.items())


def _has(payload: Any, path: Sequence[str], wanted: Scalar | Sequence[Scalar]) -> bool:
    for part in path:
        payload = payload.get(part) if isinstance(payload, Mapping) else None
    single = isinstance(wanted, str | int | float | None)
    values: Sequence[Any] = [wanted] if single else wanted  # type: ignore[assignment]
    return any(_same(payload, value) for value in values)


def _same(one: Any, other: Any) -> bool:
    """Whether both are one value in JSON, where true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


Scores = dict[str, float]


def _dense(points: Iterable[Point], vector: Sequence[float] | None, dimension: int) -> Scores:
    _check_vector(vector, dimension)
    assert vector is not None
    return {p.id: _cosine(p.vector, vector) for p in points}


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


def _sparse(found: _FakeCollection, points: Iterable[Point], text: str | None) -> Scores:
    """BM25 with k = 1.2, b = 0.75, as the engines have it."""
    if text is None:
        raise InvalidRequest("a sparse query needs a text")
    documents = {p.id: Counter(_tokens(p.text)) for p in found.points.values()}
    scores: dict[str, float] = defaultdict(float)
    for token, count in Counter(_tokens(text)).items():
        holding = sum(token in document for document in documents.values())
        idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
        for point in points:
            if tf := documents[point.id][token]:
                norm = 0.25 + 0.75 * documents[point.id].total() / found.spec.average_length
                scores[point.id] += count * idf * tf * 2.2 / (tf + 1.2 * norm)
    return dict(scores)


def _fused(found: _FakeCollection, legs: Mapping[str, Scores]) -> list[Hit]:
    ranks: dict[str, dict[str, float]] = {}
    totals: dict[str, float] = defaultdict(float)
    for leg, scores in legs.items():
        ordered = sorted(scores, key=lambda id: (-scores[id], id))
        for rank, id in enumerate(ordered, start=1):
            ranks.setdefault(id, {}).update({f"{leg}_rank": rank, f"{leg}_score": scores[id]})
            totals[id] += 1 / (60 + rank) if len(legs) == 2 else scores[id]
    hits = [_hit(found.points[id], totals[id], **ranks[id]) for id in ranks]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def _grouped(hits: Iterable[Hit], query: Query) -> Iterable[Hit]:
    seen: list[Any] = []  # not a set: a field may hold a list
    for hit in hits:
        group = hit.payload.get(query.group_by) if query.group_by else None
        if group is None or group not in seen:
            seen.append(group)
            yield hit


def _hit(point: Point, score: float, **legs: Any) -> Hit:
    return Hit(id=point.id, score=score, text=point.text, payload=dict(point.payload), **legs)
