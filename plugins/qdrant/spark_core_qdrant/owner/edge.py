"""The engine over Qdrant Edge. Every call holds Python's global lock, so calls are kept short."""

from __future__ import annotations

import asyncio
import os
import shutil
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast
from uuid import UUID

import qdrant_edge as edge

from spark_core.errors import BackendError, Conflict, SparkError, StorageFull

from ..engine import Build, Filter, Found, Row, Search, check_dimension, check_query
from ..filters import build_filter, field_path, only
from ..fusion import (
    TIED,
    Leg,
    Ranked,
    firsts,
    fuse,
    group_of,
    growing,
    is_cut,
    is_enough,
    prefetches,
    shown,
)
from ..sparse import encode_document, encode_query
from .catalog import Catalog

__all__ = ["EdgeEngine"]

T = TypeVar("T")

DENSE, SPARSE = "dense", "bm25"

#: Space that is never filled, in bytes: the engine maps its files into memory, and a page that
#: finds no room kills the process instead of failing the write.
RESERVE = 128 * 2**20

#: The engine scans exactly below this many KiB of vectors. Its own default builds a graph much
#: earlier, which costs a thousand times the search it saves.
INDEXING_THRESHOLD = 10_000_000

#: Up to as many points of each leg are looked at where the request arrived, which takes some
#: milliseconds. More go to a thread, one search at a time: not to be quicker, but to let
#: other requests have the lock in between.
SHORT = 1_000

#: How many of its points may be gone, one in so many, while a collection is in use without a
#: pause. The engine counts the words of deleted points until it opens the collection anew,
#: which takes some milliseconds per thousand points.
GONE_SHARE = 10


def _match_value(value: str | int | bool) -> edge.MatchValue:
    """The engine takes Python's true for the number 1, and only numpy's for what it is."""
    if isinstance(value, bool):
        from numpy import bool_  # only here: it takes long to import

        return edge.MatchValue(cast(bool, bool_(value)))
    return edge.MatchValue(value)


CONDITIONS: Any = SimpleNamespace(
    Filter=edge.Filter,
    FieldCondition=edge.FieldCondition,
    MatchValue=_match_value,
    MatchAny=edge.MatchAny,
    Range=edge.RangeFloat,
    IsEmpty=edge.IsEmptyCondition,
)


class EdgeEngine:
    """The collections of one directory. One process at a time may have it open."""

    def __init__(self, directory: Path) -> None:
        self._catalog = Catalog(directory)
        self._shards: dict[str, edge.EdgeShard] = {}
        self._unflushed: set[str] = set()
        self._gone: dict[str, int] = {}  # points deleted since it was opened, by generation
        self._deep = 0  # how many deep searches are under way
        self._aside = ThreadPoolExecutor(1, "deep search")

    def close(self) -> None:
        """Write everything out and let go of the files."""
        self._aside.shutdown(cancel_futures=True)
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    def flush_all(self) -> None:
        """Write out what was stored since the last time."""
        for generation in self._unflushed & self._shards.keys():
            self._shards[generation].flush()
        self._unflushed.clear()

    def recount(self, quiet: bool) -> None:
        """Let how rare words are be counted without the points that are gone.

        Where it is not *quiet*, only where they are many: requests have to wait meanwhile.
        """
        if self._deep:  # a shard that is in use cannot be closed
            return
        for generation, gone in list(self._gone.items()):
            if quiet or gone * GONE_SHARE > self._shards[generation].info().points_count:
                self._check_room(0, RESERVE // 8)
                del self._gone[generation]
                self._shards.pop(generation).close()
                self._load(generation)

    async def collections(self) -> dict[str, Build]:
        """See :class:`..engine.Engine`, here and below."""
        return self._catalog.builds

    async def describe(self, name: str) -> Build:
        """A collection's build."""
        return self._catalog[name]

    async def create(self, name: str, build: Build) -> None:
        """Make a collection: its folder first, then its entry."""
        known = self._catalog.builds.get(name)
        if known and known["generation"] == build["generation"]:
            return
        if known:
            raise Conflict(f"there is a collection {name!r} already")
        self._check_room(64 * 2**20)
        folder = self._catalog.folder(build["generation"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        shard = edge.EdgeShard.create(str(folder), _config(build["dimension"]))
        for field in build["indexed"]:
            kind = edge.PayloadSchemaType.Keyword
            shard.update(edge.UpdateOperation.create_field_index(field_path(field), kind))
        shard.flush()
        self._shards[build["generation"]] = shard
        self._catalog.add(name, build)

    async def drop(self, name: str) -> None:
        """Delete a collection: its entry first, then its folder."""
        if build := self._catalog.builds.get(name):
            self._catalog.remove(name)
            self._discard(build["generation"])

    async def replace(self, name: str, by: str, generation: str) -> None:
        """Switch: the entry changes in one step, the old folder goes after it."""
        old = self._catalog.builds.get(name)
        if old and old["generation"] == generation:
            return
        await self.flush(by)
        self._catalog.replace(name, by)
        if old:
            self._discard(old["generation"])

    async def upsert(self, name: str, rows: list[Row]) -> None:
        """Store *rows*. All are checked first: the engine would keep half of a bad batch."""
        build = self._catalog[name]
        check_dimension(build, (row[1] for row in rows))
        self._check_room(sum(len(row[1]) + 2 * len(row[2]) for row in rows))
        points = [_point(row, build) for row in rows]
        self._update(name, edge.UpdateOperation.upsert_points(points))

    async def delete(self, name: str, ids: list[str], filter: Filter) -> None:
        """Delete by id and by filter; that takes a little room too."""
        self._check_room(0, RESERVE // 8)
        shard, generation = self._shard(name), self._catalog[name]["generation"]
        before = shard.info().points_count
        if ids:
            self._update(name, edge.UpdateOperation.delete_points(list(ids)))
        if filter:
            condition = build_filter(CONDITIONS, filter)
            self._update(name, edge.UpdateOperation.delete_points_by_filter(condition))
        if gone := before - shard.info().points_count:
            self._gone[generation] = self._gone.get(generation, 0) + gone

    async def search(self, name: str, search: Search) -> list[Found]:
        """Ask each leg for ids alone; read the payloads of those that are shown.

        A collection that is replaced or dropped meanwhile is searched to the end.
        """
        shard, build = self._shard(name), self._catalog[name]
        check_query(build, search)
        ranked: list[Ranked] = []
        groups: dict[int, Any] = {}
        for prefetch in prefetches(search["limit"], search["group_by"] is not None):
            attempt = partial(_ranked, shard, search, build["language"], prefetch, groups)
            ranked, enough = attempt() if prefetch <= SHORT else await self._deeply(attempt)
            if enough:
                break
        return _collect(shard, ranked, search["limit"])

    async def _deeply(self, attempt: Callable[[], T]) -> T:
        """What *attempt* returns, while others are answered."""
        self._deep += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._aside, attempt)
        finally:
            self._deep -= 1

    async def scroll(self, name: str, filter: Filter, after: str | None, limit: int) -> list[Found]:
        """Points by id; the engine's own offset includes the point it names."""
        request = edge.ScrollRequest(
            offset=after,
            limit=limit + 1,
            filter=build_filter(CONDITIONS, filter),
            with_payload=True,
        )
        points, _ = self._shard(name).scroll(request)
        behind = [point for point in points if str(point.id) != after][:limit]
        return [(str(point.id), 0.0, dict(point.payload or {}), None, None) for point in behind]

    async def count(self, name: str, filter: Filter) -> int:
        """Count exactly."""
        request = edge.CountRequest(exact=True, filter=build_filter(CONDITIONS, filter))
        return self._shard(name).count(request)

    async def flush(self, name: str) -> None:
        """Write out one collection."""
        shard = self._shard(name)
        try:
            shard.flush()
        except Exception as error:  # the engine has no error types of its own
            raise _translated(error) from error

    def _shard(self, name: str) -> edge.EdgeShard:
        """The open shard of a collection, loaded when it is first asked for."""
        generation = self._catalog[name]["generation"]
        return self._shards.get(generation) or self._load(generation)

    def _load(self, generation: str) -> edge.EdgeShard:
        shard = edge.EdgeShard.load(str(self._catalog.folder(generation)))
        self._shards[generation] = shard
        return shard

    def _update(self, name: str, operation: edge.UpdateOperation) -> None:
        try:
            self._shard(name).update(operation)
        except Exception as error:  # the engine has no error types of its own
            raise _translated(error) from error
        self._unflushed.add(self._catalog[name]["generation"])

    def _discard(self, generation: str) -> None:
        """Delete a shard, which is closed as soon as no search has it any more."""
        self._gone.pop(generation, None)
        self._shards.pop(generation, None)
        self._catalog.clear(generation)

    def _check_room(self, wanted: int, reserve: int = RESERVE) -> None:
        """Refuse a write that might not fit, before it is begun."""
        stat = os.statvfs(self._catalog.directory)
        if stat.f_bavail * stat.f_frsize < reserve + 4 * wanted:
            raise StorageFull(
                f"there is no room for the index: less than {reserve // 2**20} MiB are left",
                hint="free some space, or move [plugins.qdrant] directory to a larger disk",
            )


def _config(dimension: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)},
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INDEXING_THRESHOLD),
        # One request at a time over one segment: a pool of threads only hands it around,
        # which takes a quarter more CPU.
        max_search_threads=1,
    )


def _numbers(packed: bytes) -> list[float]:
    return list(array("f", packed))


def _point(row: Row, build: Build) -> edge.Point:
    id, vector, text, payload = row
    indices, values = encode_document(text, build["language"], build["average_length"])
    vectors: Any = {DENSE: _numbers(vector), SPARSE: edge.SparseVector(indices, values)}
    return edge.Point(id, vectors, {**payload, "text": text})


def _ranked(
    shard: edge.EdgeShard, search: Search, language: str, prefetch: int, groups: dict[int, Any]
) -> tuple[list[Ranked], bool]:
    """What *prefetch* points of each leg give, best first, and whether more would not help."""
    limit, group_by = search["limit"], search["group_by"]
    legs = _legs(shard, search, language, prefetch)
    ranked = fuse(*legs, prefetch)
    if group_by is not None:
        ranked = _firsts(shard, ranked, limit, group_by, groups)
    return ranked, is_enough(ranked, limit, legs, prefetch)


def _legs(
    shard: edge.EdgeShard, search: Search, language: str, limit: int
) -> tuple[Leg | None, Leg | None]:
    filter = build_filter(CONDITIONS, search["filter"])

    def first(count: int, vector: Any, using: str) -> Leg:
        query = edge.Query.Nearest(vector, using=using)
        request = edge.QueryRequest(limit=count, query=query, filter=filter)
        points: list[Any] = shard.query(request)  # Any: their ids can be but UUIDs here
        return [(point.id.int, point.score) for point in points]

    def leg(vector: Any, using: str) -> Leg:
        found = first(limit + 1, vector, using)
        return first(limit + TIED, vector, using) if is_cut(found, limit) else found

    dense = None if search["dense"] is None else leg(_numbers(search["dense"]), DENSE)
    if search["text"] is None:
        return dense, None
    return dense, leg(edge.SparseVector(*encode_query(search["text"], language)), SPARSE)


def _firsts(
    shard: edge.EdgeShard,
    ranked: Sequence[Ranked],
    limit: int,
    group_by: str,
    groups: dict[int, Any],
) -> list[Ranked]:
    """The first of each group, by the one field; *groups* are those that are known."""
    found: list[Ranked] = []
    seen: set[Any] = set()
    for part in growing(ranked, limit * 2):
        unknown: list[Any] = [UUID(int=point.id) for point in part if point.id not in groups]
        records: list[Any] = shard.retrieve(unknown, only(group_by), False)
        groups |= {record.id.int: group_of(record.payload, group_by) for record in records}
        found += firsts(part, groups, seen)
        if len(found) >= limit:
            break
    return found[:limit]


def _collect(shard: edge.EdgeShard, ranked: Sequence[Ranked], limit: int) -> list[Found]:
    """The first *limit* of *ranked* that are still there, with their payloads."""
    found: list[Found] = []
    for part in growing(ranked, limit):
        named = [_named(point) for point in part]
        records = shard.retrieve([point.id for point in named], True, False)
        payloads = {str(record.id): record.payload or {} for record in records}
        found += shown(named, payloads)
        if len(found) >= limit:
            break
    return found[:limit]


def _named(point: Ranked) -> Ranked:
    """*point* under the id that others know; the legs go by its number, which is quicker."""
    return replace(point, id=str(UUID(int=point.id)))


def _translated(error: Exception) -> SparkError:
    text = str(error)
    if "No space left" in text or "os error 28" in text:
        return StorageFull("there is no room for the index")
    return BackendError("the embedded index refused to do it")
