"""What both engines do, in terms that fit through a socket.

The store checks what callers hand in and speaks the contract; an engine only ever sees names
that are safe, ids that are UUIDs and vectors that are finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypedDict, cast

from spark_core.errors import Conflict, InvalidRequest

__all__ = [
    "Build",
    "Engine",
    "Found",
    "Place",
    "Row",
    "Search",
    "build_of",
    "check_dimension",
    "check_query",
    "pieces",
]

Filter = dict[str, Any] | None

#: A point: id, dense vector (float32, little-endian), text, payload.
Row = tuple[str, bytes, str, dict[str, Any]]

#: What a leg says of a point: its place, counted from 1, and its score; ``None`` if it missed it.
Place = tuple[int, float] | None

#: A hit: id, score, payload with its text, its place in the dense leg, and in the sparse one.
Found = tuple[str, float, dict[str, Any], Place, Place]


class Build(TypedDict):
    """A collection as it was made: what never changes until it is rebuilt."""

    generation: str
    created_at: str
    dimension: int
    embedder: str
    average_length: float
    indexed: list[str]
    language: str


class Search(TypedDict):
    """A query: ``dense`` as in :data:`Row`; a leg that is ``None`` is not asked."""

    dense: bytes | None
    embedder: str | None
    text: str | None
    limit: int
    filter: Filter
    group_by: str | None


class Engine(Protocol):
    """Holds collections. Every method but ``create`` and ``replace`` can be said twice."""

    async def collections(self) -> dict[str, Build]:
        """Every collection's build, by name."""
        ...

    async def describe(self, name: str) -> Build:
        """One collection's build."""
        ...

    async def create(self, name: str, build: Build) -> None:
        """Make a collection; one of this very generation is fine, another is a conflict."""
        ...

    async def drop(self, name: str) -> None:
        """Delete a collection if it is there."""
        ...

    async def replace(self, name: str, by: str, generation: str) -> None:
        """Let *name* be what *by* is, which is of *generation*; done before is fine."""
        ...

    async def upsert(self, name: str, rows: list[Row]) -> None:
        """Store points in their order, piece by piece; none where one has a wrong dimension."""
        ...

    async def delete(self, name: str, ids: list[str], filter: Filter) -> None:
        """Delete points by id, and by filter where there is one."""
        ...

    async def search(self, name: str, search: Search) -> list[Found]:
        """The best hits."""
        ...

    async def scroll(self, name: str, filter: Filter, after: str | None, limit: int) -> list[Found]:
        """Points by id."""
        ...

    async def count(self, name: str, filter: Filter) -> int:
        """How many points match."""
        ...

    async def flush(self, name: str) -> None:
        """Make everything stored so far survive a loss of power."""
        ...


#: A piece of a batch: as many points and about as many bytes at the most.
PIECE_POINTS, PIECE_BYTES = 128, 2**20


def pieces(rows: list[Row]) -> Iterator[list[Row]]:
    """*rows* bit by bit: a large batch neither holds others up nor passes an engine's limits."""
    piece: list[Row] = []
    room = PIECE_BYTES
    for row in rows:
        size = len(row[1]) + len(row[2])
        if piece and (size > room or len(piece) == PIECE_POINTS):
            yield piece
            piece, room = [], PIECE_BYTES
        piece.append(row)
        room -= size
    if piece:
        yield piece


def build_of(stored: dict[str, Any]) -> Build:
    """A build as an engine keeps it, typed."""
    return cast(Build, {key: stored[key] for key in Build.__annotations__})


def check_dimension(build: Build, vectors: Iterable[bytes | None]) -> None:
    """Fail unless every one of *vectors* fits the collection of *build*."""
    for vector in vectors:
        if vector is not None and len(vector) != 4 * build["dimension"]:
            raise InvalidRequest(
                f"the collection holds vectors of {build['dimension']} numbers, "
                f"this one has {len(vector) // 4}",
                hint=f"it was built with {build['embedder']}",
            )


def check_query(build: Build, search: Search) -> None:
    """Fail unless the query's vector is from the space of the collection's."""
    check_dimension(build, [search["dense"]])
    if search["embedder"] not in (None, build["embedder"]):
        raise Conflict(
            f"the collection was built with {build['embedder']}, not with {search['embedder']}",
            hint="choose that embedder, or build the collection anew",
        )
