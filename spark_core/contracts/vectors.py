"""Where vectors lie and are searched: dense ones, and BM25's sparse ones beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .embedding import Vector
from .records import Scalar

__all__ = [
    "Collection",
    "CollectionInfo",
    "CollectionName",
    "CollectionSpec",
    "Filter",
    "Hit",
    "Mode",
    "Point",
    "Query",
    "VectorStore",
]

#: A collection's name: it becomes part of a path and of a URL, so nothing else is let through.
CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")]

#: Payload fields (dots reach into nested ones) and the value, or any of the values, each must have.
Filter = Mapping[str, Scalar | Sequence[Scalar]]


class Mode(StrEnum):
    """How a query is answered."""

    DENSE = "dense"  #: by the vector alone
    SPARSE = "sparse"  #: by the words alone (BM25)
    HYBRID = "hybrid"  #: by both, joined by reciprocal rank fusion


class CollectionSpec(BaseModel, defer_build=True):
    """What a new collection is made for."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    dimension: int = Field(gt=0, description="Length of its dense vectors.")
    embedder: str = Field(description="Name of the model that makes them.")
    average_length: float = Field(
        gt=0,
        description="Mean length of its texts in the store's own tokens (see `lengths`). BM25 "
        "bakes it into every document's weights, so it holds until the collection is rebuilt.",
    )
    indexed: tuple[str, ...] = Field(
        default=(), description="Payload fields that filters will often ask for."
    )


class CollectionInfo(BaseModel, defer_build=True):
    """A collection as it stands."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str
    generation: str = Field(description="Names this very build: another after each rebuild.")
    created_at: datetime
    points: int
    spec: CollectionSpec
    outdated: bool = Field(
        default=False,
        description="Whether the store would make it differently by now, in another language say.",
    )


@dataclass(frozen=True, slots=True)
class Point:
    """A text with its vector, to be stored under its id.

    A plain dataclass: the store validates a whole batch at once, and batches are hot.

    ``id`` is a UUID; a point of the same id is replaced. ``vector`` is the dense vector;
    the sparse one is made from ``text``, which hits give back as it was.
    """

    id: str
    vector: Vector
    text: str
    payload: Mapping[str, Any] = field(default_factory=dict)


class Query(BaseModel, defer_build=True):
    """One search. ``vector`` is needed by dense and hybrid, ``text`` by sparse and hybrid."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    mode: Mode = Mode.HYBRID
    vector: Any = None
    embedder: str | None = Field(
        default=None, description="Model that made the vector: one built with another refuses it."
    )
    text: str | None = None
    limit: int = Field(default=10, ge=1)
    filter: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    group_by: str | None = Field(
        default=None, description="Payload field: of the points that share its value, the best."
    )


class Hit(BaseModel, defer_build=True):
    """A point that was found. Ranks count from 1; a leg that did not find it has none.

    ``score`` decides the order; each leg's own score is the cosine, or BM25's weight.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str
    score: float
    text: str
    payload: dict[str, Any]
    dense_rank: int | None = None
    sparse_rank: int | None = None
    dense_score: float | None = None
    sparse_score: float | None = None


@runtime_checkable
class Collection(Protocol):
    """The points of one collection. Making this object does no I/O."""

    async def describe(self) -> CollectionInfo:
        """:raises NotFound: there is no such collection (so does every method here)."""
        ...

    async def upsert(self, points: Sequence[Point]) -> None:
        """Store *points*, each whole; where ids repeat, the last of an id counts.

        When it returns, all of them are found by searches and survive the death of any
        process; a loss of power they survive after :meth:`flush`. All are checked before the
        first is stored. They may be stored bit by bit: a search meanwhile may find the first
        without the last, and where it fails halfway or is cancelled, the first may stay. Say
        the same again then: nothing is stored twice.

        :raises InvalidRequest: an id is no UUID, a vector has another dimension or a value
            that is not finite. Nothing was stored.
        :raises StorageFull: there is no room. The first may have been stored.
        :raises Unavailable: the store cannot be reached. The first may have been stored.
        """
        ...

    async def delete(self, *, ids: Sequence[str] = (), filter: Filter | None = None) -> None:
        """Delete the points of *ids* and those that match *filter*; unknown ids are fine.

        It lasts as what :meth:`upsert` stores does, and can be said again where it failed.
        """
        ...

    async def search(self, query: Query) -> Sequence[Hit]:
        """The best hits, best first; equal scores come in a fixed order."""
        ...

    async def scroll(
        self, *, filter: Filter | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[Hit]:
        """Points in the order of their ids, those behind *after*; scores are 0."""
        ...

    async def count(self, filter: Filter | None = None) -> int:
        """How many points match *filter*, exactly."""
        ...

    async def flush(self) -> None:
        """When it returns, all that was stored before survives a loss of power."""
        ...


@runtime_checkable
class VectorStore(Protocol):
    """Collections of points."""

    def collection(self, name: str) -> Collection:
        """The collection called *name*, whether it exists or not.

        :raises InvalidRequest: *name* is not a :data:`CollectionName`.
        """
        ...

    async def collections(self) -> Sequence[CollectionInfo]:
        """Every collection, by name."""
        ...

    async def create(self, name: str, spec: CollectionSpec) -> CollectionInfo:
        """Make an empty collection.

        :raises Conflict: there is one of that name.
        """
        ...

    async def drop(self, name: str) -> None:
        """Delete a collection and its points; none of that name is fine."""
        ...

    async def replace(self, name: str, *, by: str) -> CollectionInfo:
        """Let *name* be what *by* is now, in one step; *by* is no more.

        Searches of *name* are answered throughout, from the old points until the step and
        from the new ones after it. The old points are deleted; *name* need not have existed.

        :raises NotFound: there is no collection *by*.
        """
        ...

    def lengths(self, texts: Sequence[str]) -> Sequence[int]:
        """The length of each text in the tokens that BM25 sees here (no stop words)."""
        ...
