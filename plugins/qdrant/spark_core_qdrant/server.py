"""The engine over a Qdrant server, by URL.

A collection's name is an alias; the points lie in a collection named after their generation,
which carries its build as metadata. Switching the alias is the server's own atomic step.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from spark_core.errors import (
    BackendError,
    Conflict,
    NotFound,
    SparkError,
    StorageFull,
    TimedOut,
    Unavailable,
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
)
from .filters import build_filter
from .fusion import Leg, fuse, prefetch_for, shown
from .settings import QdrantSettings
from .sparse import encode_document, encode_query

__all__ = ["ServerEngine", "open_server"]

P = ParamSpec("P")
T = TypeVar("T")

DENSE, SPARSE = "dense", "bm25"

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
    """Use the server that the settings name. Nothing is asked of it yet."""
    client = AsyncQdrantClient(
        url=settings.url,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        timeout=round(settings.timeout_s),
        check_compatibility=False,  # asks the server, and blocks while it does
        trust_env=False,
    )
    try:
        yield ServerEngine(client, _shown_url(settings.url or ""))
    finally:
        await client.close()


def _shown_url(url: str) -> str:
    """*url* without a name and password, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _translated(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """What the client raises becomes an error of ours that names the server."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except (ResponseHandlingException, UnexpectedResponse, httpx.HTTPError) as error:
            engine = cast(ServerEngine, args[0])
            raise _translate(error, engine.url) from error

    return call


def _translate(error: Exception, url: str) -> SparkError:
    if isinstance(error, UnexpectedResponse):
        return _by_status(error, url)
    source = error.source if isinstance(error, ResponseHandlingException) else error
    if isinstance(source, httpx.TimeoutException) and not isinstance(source, httpx.ConnectTimeout):
        return TimedOut(f"the Qdrant server at {url} did not answer in time")
    if isinstance(source, httpx.TransportError):
        return Unavailable(
            f"the Qdrant server at {url} cannot be reached",
            hint="start it, or correct [plugins.qdrant] url or QDRANT_URL",
        )
    return BackendError(f"the Qdrant server at {url} gave an answer that cannot be read")


def _by_status(error: UnexpectedResponse, url: str) -> SparkError:
    status = error.status_code or 0
    if status in (429, 503):
        return Unavailable(f"the Qdrant server at {url} is busy")
    if status in (401, 403):
        return BackendError(
            f"the Qdrant server at {url} wants another api_key", hint="QDRANT_API_KEY"
        )
    if status == 507 or b"No space left" in (error.content or b""):
        return StorageFull(f"the Qdrant server at {url} has no room left")
    return BackendError(f"the Qdrant server at {url} answered {status}")


class ServerEngine:
    """Collections on a server. See :class:`.engine.Engine`."""

    def __init__(self, client: AsyncQdrantClient, url: str) -> None:
        self._client = client
        self.url = url
        self._builds: dict[str, Build] = {}  # by physical name: a build never changes

    @_translated
    async def collections(self) -> dict[str, Build]:
        """Every collection's build, by name: those behind an alias and made by us."""
        return {name: await self._build(behind) for name, behind in (await self._aliases()).items()}

    @_translated
    async def describe(self, name: str) -> Build:
        """One collection's build."""
        return await self._build(await self._behind(name))

    @_translated
    async def create(self, name: str, build: Build) -> None:
        """Make a collection and then its alias: one without an alias is nobody's."""
        behind = (await self._aliases()).get(name)
        if behind == _physical(name, build["generation"]):
            return
        if behind or await self._client.collection_exists(name):
            raise Conflict(f"there is a collection {name!r} already")
        physical = _physical(name, build["generation"])
        if not await self._client.collection_exists(physical):
            await self._make(physical, build)
        await self._point(name, physical)

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
                physical, field, models.PayloadSchemaType.KEYWORD
            )

    @_translated
    async def drop(self, name: str) -> None:
        """Delete a collection if it is there; its alias goes with it."""
        if behind := (await self._aliases()).get(name):
            await self._client.delete_collection(behind)

    @_translated
    async def replace(self, name: str, by: str, generation: str) -> None:
        """Switch the alias, then delete what it named before."""
        aliases = await self._aliases()
        old = aliases.get(name)
        if old and (await self._build(old))["generation"] == generation:
            return
        await self._point(name, await self._behind(by), instead_of=by)
        if old:
            await self._client.delete_collection(old)

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

    @_translated
    async def upsert(self, name: str, rows: list[Row]) -> None:
        """Store points. The server checks each batch as a whole; we check the dimension."""
        behind = await self._behind(name)
        build = await self._build(behind)
        check_dimension(build, (row[1] for row in rows))
        points = [_point(row, build) for row in rows]
        await self._client.upsert(behind, points, wait=True)

    @_translated
    async def delete(self, name: str, ids: list[str], filter: Filter) -> None:
        """Delete by id and by filter."""
        behind = await self._behind(name)
        if ids:
            await self._client.delete(behind, models.PointIdsList(points=list(ids)), wait=True)
        if condition := build_filter(CONDITIONS, filter):
            selector = models.FilterSelector(filter=condition)
            await self._client.delete(behind, selector, wait=True)

    @_translated
    async def search(self, name: str, search: Search) -> list[Found]:
        """Ask both legs for ids in one request, then for the payloads of those that are shown."""
        behind = await self._behind(name)
        build = await self._build(behind)
        check_query(build, search)
        dense, sparse = await self._legs(behind, search, build["language"])
        ranked = fuse(dense, sparse)
        found: list[Found] = []
        groups: set[Any] = set()
        step = search["limit"] * 2 if search["group_by"] else search["limit"]
        for start in range(0, len(ranked), step):
            part = ranked[start : start + step]
            records = await self._client.retrieve(behind, [point.id for point in part])
            payloads = {str(record.id): record.payload or {} for record in records}
            found += shown(part, payloads, groups, search["group_by"])
            if len(found) >= search["limit"]:
                break
        return found[: search["limit"]]

    async def _legs(
        self, behind: str, search: Search, language: str
    ) -> tuple[Leg | None, Leg | None]:
        vectors: dict[str, Any] = {}
        if search["dense"] is not None:
            vectors[DENSE] = list(array("f", search["dense"]))
        if search["text"] is not None:
            indices, values = encode_query(search["text"], language)
            vectors[SPARSE] = models.SparseVector(indices=indices, values=values)
        requests = [
            models.QueryRequest(
                query=vector,
                using=using,
                filter=build_filter(CONDITIONS, search["filter"]),
                limit=prefetch_for(search["limit"], search["group_by"] is not None),
                with_payload=False,
            )
            for using, vector in vectors.items()
        ]
        answers = await self._client.query_batch_points(behind, requests)
        legs: dict[str, Leg] = {
            using: [(str(point.id), point.score) for point in answer.points]
            for using, answer in zip(vectors, answers, strict=True)
        }
        return legs.get(DENSE), legs.get(SPARSE)

    @_translated
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

    @_translated
    async def count(self, name: str, filter: Filter) -> int:
        """Count exactly."""
        behind = await self._behind(name)
        condition = build_filter(CONDITIONS, filter)
        return (await self._client.count(behind, count_filter=condition, exact=True)).count

    async def flush(self, name: str) -> None:
        """Nothing to do: the server writes its log out before it acknowledges."""

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
            if stored is None:
                raise Conflict(f"collection {behind!r} on {self.url} was not made by spark_core")
            self._builds[behind] = build_of(stored)
        return self._builds[behind]


def _physical(name: str, generation: str) -> str:
    return f"{name}.{generation}"


def _point(row: Row, build: Build) -> models.PointStruct:
    id, vector, text, payload = row
    indices, values = encode_document(text, build["language"], build["average_length"])
    sparse = models.SparseVector(indices=indices, values=values)
    vectors: Any = {DENSE: list(array("f", vector)), SPARSE: sparse}
    return models.PointStruct(id=id, vector=vectors, payload={**payload, "text": text})
