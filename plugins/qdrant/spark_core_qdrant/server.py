"""The engine over a Qdrant server, by URL.

A collection's name is an alias; the points lie in a collection named after their generation,
which carries its build as metadata. Switching the alias is the server's own atomic step.
"""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from spark_core.errors import Conflict, NotFound

from .connection import (
    FAILURES,
    QUICK_SECONDS,
    AsyncQdrantClient,
    connect,
    models,
    shown_url,
    translated,
)
from .engine import (
    Build,
    Engine,
    Filter,
    Found,
    Row,
    Search,
    build_of,
    check_dimension,
    check_query,
    pieces,
)
from .filters import build_filter, field_path, only
from .fusion import (
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
from .settings import QdrantSettings
from .sparse import encode_document, encode_query

__all__ = ["ServerEngine", "open_server"]

log = logging.getLogger("spark_core_qdrant")

DENSE, SPARSE = "dense", "bm25"

#: The age from which a collection without an alias is a leftover: nobody is still making it.
LEFTOVER = timedelta(hours=1)

CONDITIONS: Any = SimpleNamespace(
    Filter=models.Filter,
    FieldCondition=models.FieldCondition,
    MatchValue=models.MatchValue,
    MatchAny=models.MatchAny,
    Range=models.Range,
    IsEmpty=lambda key: models.IsEmptyCondition(is_empty=models.PayloadField(key=key)),
)


@asynccontextmanager
async def open_server(settings: QdrantSettings) -> AsyncIterator[Engine]:
    """Use the server that the settings name. Nothing is asked of it yet.

    :raises SettingsError: the URL is none.
    """
    url = settings.address() or ""
    client = connect(url, settings)
    try:
        yield ServerEngine(client, shown_url(url))
    finally:
        await client.close()


class ServerEngine:
    """Collections on a server. See :class:`.engine.Engine`."""

    def __init__(self, client: AsyncQdrantClient, url: str) -> None:
        self._client = client
        self.url = url
        self._builds: dict[str, Build] = {}  # by physical name: a build never changes

    @translated
    async def collections(self) -> dict[str, Build]:
        """Every collection's build, by name: those behind an alias and made by us."""
        builds: dict[str, Build] = {}
        for name, behind in (await self._aliases()).items():
            with suppress(Conflict):
                builds[name] = await self._build(behind)
        return builds

    @translated
    async def describe(self, name: str) -> Build:
        """One collection's build."""
        return await self._build(await self._behind(name))

    @translated
    async def create(self, name: str, build: Build) -> None:
        """Make a collection and then its alias: one without an alias is nobody's."""
        behind = (await self._aliases()).get(name)
        if behind == _physical(name, build["generation"]):
            return
        if behind:
            raise Conflict(f"there is a collection {name!r} already")
        await self._check_free(name)
        physical = _physical(name, build["generation"])
        try:
            if not await self._client.collection_exists(physical):
                await self._make(physical, build)
            await self._point(name, physical)
        except FAILURES:
            await self._discard(physical)
            raise

    async def _make(self, physical: str, build: Build) -> None:
        await self._client.create_collection(
            physical,
            vectors_config={
                DENSE: models.VectorParams(size=build["dimension"], distance=models.Distance.COSINE)
            },
            sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            metadata={"spark_core": dict(build)},
        )
        for field in build["indexed"]:
            await self._client.create_payload_index(
                physical, field_path(field), models.PayloadSchemaType.KEYWORD
            )

    async def _check_free(self, name: str) -> None:
        """Fail where another program's collection has the name that an alias is to have."""
        if await self._client.collection_exists(name):
            raise Conflict(f"{self.url} has a collection {name!r} not made by spark_core")

    @translated
    async def drop(self, name: str) -> None:
        """Delete a collection if it is there; its alias goes with it."""
        if behind := (await self._aliases()).get(name):
            await self._build(behind)  # fails where it is somebody else's
            await self._client.delete_collection(behind)

    @translated
    async def replace(self, name: str, by: str, generation: str) -> None:
        """Switch the alias, then delete what it named before, and what was left earlier."""
        aliases = await self._aliases()
        old = aliases.get(name)
        if not old:
            await self._check_free(name)
        elif (await self._build(old))["generation"] == generation:
            return
        await self._point(name, await self._behind(by), instead_of=by)
        if old:
            await self._discard(old)
        with suppress(*FAILURES):
            await self._sweep(name, by)

    async def _discard(self, physical: str) -> None:
        """Delete a collection that no alias means. Where that fails, a later sweep does it."""
        try:
            await self._client.delete_collection(physical, timeout=round(QUICK_SECONDS))
        except FAILURES as error:
            log.warning("collection %s is left on the server: %s", physical, type(error).__name__)

    async def _sweep(self, *names: str) -> None:
        """Delete what was made for *names* and then left, by a program that was killed, say."""
        in_use = set((await self._aliases()).values())
        left = re.compile(rf"({'|'.join(map(re.escape, names))})\.[0-9a-f]{{32}}")
        for known in (await self._client.get_collections()).collections:
            if left.fullmatch(known.name) and known.name not in in_use:
                with suppress(Conflict):  # not made by us
                    if _age(await self._build(known.name)) > LEFTOVER:
                        await self._discard(known.name)

    async def _point(self, name: str, physical: str, instead_of: str | None = None) -> None:
        """Let the alias *name* mean *physical*, in one step."""
        create = models.CreateAlias(collection_name=physical, alias_name=name)
        actions: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        if instead_of:
            gone = models.DeleteAlias(alias_name=instead_of)
            actions.append(models.DeleteAliasOperation(delete_alias=gone))
        if name in await self._aliases():
            old = models.DeleteAlias(alias_name=name)
            actions.insert(0, models.DeleteAliasOperation(delete_alias=old))
        await self._client.update_collection_aliases(change_aliases_operations=actions)

    @translated
    async def upsert(self, name: str, rows: list[Row]) -> None:
        """Store points. The server checks each piece as a whole; we check all beforehand."""
        behind = await self._behind(name)
        build = await self._build(behind)
        check_dimension(build, (row[1] for row in rows))
        for piece in pieces(rows):
            await self._client.upsert(behind, [_point(row, build) for row in piece], wait=True)

    @translated
    async def delete(self, name: str, ids: list[str], filter: Filter) -> None:
        """Delete by id and by filter."""
        behind = await self._behind(name)
        if ids:
            await self._client.delete(behind, models.PointIdsList(points=list(ids)), wait=True)
        if condition := build_filter(CONDITIONS, filter):
            selector = models.FilterSelector(filter=condition)
            await self._client.delete(behind, selector, wait=True)

    @translated
    async def search(self, name: str, search: Search) -> list[Found]:
        """Ask both legs for ids in one request; read the payloads of those that are shown."""
        behind = await self._behind(name)
        build = await self._build(behind)
        check_query(build, search)
        limit, group_by = search["limit"], search["group_by"]
        ranked: list[Ranked] = []
        groups: dict[str, Any] = {}
        for prefetch in prefetches(limit, group_by is not None):
            legs = await self._legs(behind, search, build["language"], prefetch)
            ranked = fuse(*legs, prefetch)
            if group_by is not None:
                ranked = await self._firsts(behind, ranked, limit, group_by, groups)
            if is_enough(ranked, limit, legs, prefetch):
                break
        return await self._collect(behind, ranked, limit)

    async def _firsts(
        self,
        behind: str,
        ranked: Sequence[Ranked],
        limit: int,
        group_by: str,
        groups: dict[str, Any],
    ) -> list[Ranked]:
        """The first of each group, by the one field; *groups* are those that are known."""
        found: list[Ranked] = []
        seen: set[Any] = set()
        for part in growing(ranked, limit * 2):
            unknown = [point.id for point in part if point.id not in groups]
            if unknown:
                records = await self._client.retrieve(behind, unknown, with_payload=only(group_by))
                groups |= {str(r.id): group_of(r.payload, group_by) for r in records}
            found += firsts(part, groups, seen)
            if len(found) >= limit:
                break
        return found[:limit]

    async def _collect(self, behind: str, ranked: Sequence[Ranked], limit: int) -> list[Found]:
        """The first *limit* of *ranked* that are still there, with their payloads."""
        found: list[Found] = []
        for part in growing(ranked, limit):
            records = await self._client.retrieve(behind, [point.id for point in part])
            payloads = {str(record.id): record.payload or {} for record in records}
            found += shown(part, payloads)
            if len(found) >= limit:
                break
        return found[:limit]

    async def _legs(
        self, behind: str, search: Search, language: str, limit: int
    ) -> tuple[Leg | None, Leg | None]:
        vectors: dict[str, Any] = {}
        if search["dense"] is not None:
            vectors[DENSE] = list(array("f", search["dense"]))
        if search["text"] is not None:
            indices, values = encode_query(search["text"], language)
            vectors[SPARSE] = models.SparseVector(indices=indices, values=values)
        condition = build_filter(CONDITIONS, search["filter"])
        legs = await self._first(limit + 1, behind, vectors, condition)
        if any(is_cut(leg, limit) for leg in legs.values()):
            legs = await self._first(limit + TIED, behind, vectors, condition)
        return legs.get(DENSE), legs.get(SPARSE)

    async def _first(
        self, count: int, behind: str, vectors: dict[str, Any], condition: Any
    ) -> dict[str, Leg]:
        requests = [
            models.QueryRequest(
                query=vector, using=using, filter=condition, limit=count, with_payload=False
            )
            for using, vector in vectors.items()
        ]
        answers = await self._client.query_batch_points(behind, requests)
        return {
            using: [(str(point.id), point.score) for point in answer.points]
            for using, answer in zip(vectors, answers, strict=True)
        }

    @translated
    async def scroll(self, name: str, filter: Filter, after: str | None, limit: int) -> list[Found]:
        """Points by id; the server's own offset includes the point it names."""
        points, _ = await self._client.scroll(
            await self._behind(name),
            scroll_filter=build_filter(CONDITIONS, filter),
            limit=limit + 1,
            offset=after,
        )
        behind = [point for point in points if str(point.id) != after][:limit]
        return [(str(point.id), 0.0, point.payload or {}, None, None) for point in behind]

    @translated
    async def count(self, name: str, filter: Filter) -> int:
        """Count exactly."""
        behind = await self._behind(name)
        condition = build_filter(CONDITIONS, filter)
        answer = await self._client.count(behind, count_filter=condition, exact=True)
        return answer.count

    async def flush(self, name: str) -> None:
        """Nothing but to say whether it is there: the server writes out what it acknowledges."""
        await self.describe(name)

    async def _aliases(self) -> dict[str, str]:
        answer = await self._client.get_aliases()
        return {alias.alias_name: alias.collection_name for alias in answer.aliases}

    async def _behind(self, name: str) -> str:
        aliases = await self._aliases()
        if name not in aliases:
            known = ", ".join(sorted(aliases)) or "there is none yet"
            raise NotFound(f"there is no collection {name!r}", hint=f"collections: {known}")
        return aliases[name]

    async def _build(self, behind: str) -> Build:
        if behind not in self._builds:
            info = await self._client.get_collection(behind)
            stored = (info.config.metadata or {}).get("spark_core")
            if not isinstance(stored, dict) or not Build.__annotations__.keys() <= stored.keys():
                raise Conflict(f"collection {behind!r} on {self.url} was not made by spark_core")
            self._builds[behind] = build_of(stored)
        return self._builds[behind]


def _age(build: Build) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(build["created_at"])


def _physical(name: str, generation: str) -> str:
    return f"{name}.{generation}"


def _point(row: Row, build: Build) -> models.PointStruct:
    id, vector, text, payload = row
    indices, values = encode_document(text, build["language"], build["average_length"])
    sparse = models.SparseVector(indices=indices, values=values)
    vectors: Any = {DENSE: list(array("f", vector)), SPARSE: sparse}
    return models.PointStruct(id=id, vector=vectors, payload={**payload, "text": text})
