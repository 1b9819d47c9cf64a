"""The operation that searches the index."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from spark_core.contracts.embedding import Embedder, Purpose
from spark_core.contracts.records import Scalar
from spark_core.contracts.vectors import CollectionName, Hit, Mode, Query, VectorStore
from spark_core.errors import InvalidRequest, NotFound, Problem
from spark_core.settings import nearest

from .ledger import Ledger
from .settings import IngestSettings

__all__ = ["Explanation", "SearchHit", "SearchRequest", "SearchResponse", "render_hits", "search"]

#: Filter fields that are not metadata.
OWN_FIELDS = ("kind", "record_id")


class SearchRequest(BaseModel, defer_build=True):
    """What to look for."""

    query: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=100_000, description="What to look for, in words."
    )
    mode: Mode = Field(
        default=Mode.HYBRID,
        description="dense: by meaning; sparse: by words (BM25); hybrid: by both.",
    )
    limit: int = Field(default=10, ge=1, le=100, description="How many records to find.")
    filter: dict[str, Scalar | Annotated[list[Scalar], Field(max_length=100)]] = Field(
        default={},
        max_length=20,
        description="Metadata fields, kind or record_id, each with the value it must have or "
        "a list of values of which it must have one.",
    )
    collection: CollectionName | None = Field(
        default=None, description="Where to look; by default where the ingest writes."
    )


class Explanation(BaseModel, defer_build=True):
    """Why a hit is where it is: its place in each leg, from 1; none where a leg missed it."""

    dense_rank: int | None
    sparse_rank: int | None


class SearchHit(BaseModel, defer_build=True):
    """A record that was found, with the piece of its text that matches best."""

    id: str = Field(description="Names the piece.")
    kind: str
    record_id: str
    title: str
    text: str
    score: float
    metadata: dict[str, Any]
    explain: Explanation


class SearchResponse(BaseModel, defer_build=True):
    """What was found, the best first."""

    mode: Mode
    took_ms: float
    hits: list[SearchHit]


async def is_in_use(settings: IngestSettings, ledger: Ledger) -> bool:
    """Whether there is anything to search, or will be."""
    return settings.database is not None or not await ledger.is_empty()


async def search(
    request: SearchRequest, settings: IngestSettings, store: VectorStore, embedder: Embedder
) -> SearchResponse:
    """Search the firm's memory by meaning, by words, or by both."""
    started = time.perf_counter()
    by_words_alone = request.mode is Mode.SPARSE
    query = Query(
        mode=request.mode,
        vector=None if by_words_alone else await _embedded(request.query, embedder),
        embedder=None if by_words_alone else embedder.model,
        text=request.query,
        limit=request.limit,
        filter=_filter(request, settings),
        group_by="record",
    )
    hits = await _found(query, request, settings, store)
    took_ms = round((time.perf_counter() - started) * 1000, 3)
    return SearchResponse(mode=request.mode, took_ms=took_ms, hits=[_hit(hit) for hit in hits])


async def _found(
    query: Query, request: SearchRequest, settings: IngestSettings, store: VectorStore
) -> Sequence[Hit]:
    try:
        return await store.collection(request.collection or settings.collection).search(query)
    except NotFound as error:
        if request.collection:
            raise
        message = f"nothing has been indexed in {settings.collection} yet"
        raise NotFound(message, hint="spark ingest backfill") from error


async def _embedded(query: str, embedder: Embedder) -> Sequence[float]:
    (vector,) = await embedder.embed([query], purpose=Purpose.QUERY)
    return vector


def _filter(request: SearchRequest, settings: IngestSettings) -> dict[str, Scalar | list[Scalar]]:
    if request.collection in (None, settings.collection):
        _check_fields(request.filter, settings)
    return {
        key if key in OWN_FIELDS else f"metadata.{key}": _either_type(wanted)
        for key, wanted in request.filter.items()
    }


def _check_fields(filter: Mapping[str, Any], settings: IngestSettings) -> None:
    """A misspelt field would find nothing, and look like an answer."""
    metadata = {column for kind in settings.kinds.values() for column in kind.metadata}
    for key in filter:
        if settings.kinds and key not in metadata and key not in OWN_FIELDS:
            detail = f"no kind has the metadata {key!r}{nearest(key, metadata | set(OWN_FIELDS))}"
            pointer = key.replace("~", "~0").replace("/", "~1")
            raise InvalidRequest(detail, problems=[Problem(f"/filter/{pointer}", detail)])


def _either_type(wanted: Scalar | list[Scalar]) -> list[Scalar]:
    """The wanted values, numbers also as text and the reverse: SQLite's columns hold either."""
    values = wanted if isinstance(wanted, list) else [wanted]
    return [form for value in values for form in (value, *_other_forms(value)) if _possible(form)]


def _other_forms(value: Scalar) -> list[Scalar]:
    if isinstance(value, str):
        try:
            return [float(value)]
        except ValueError:
            return []
    if isinstance(value, bool):  # SQLite has none, and calls true 1
        return [int(value), str(int(value))]
    if isinstance(value, float) and value.is_integer():
        return [str(value), str(int(value))]
    return [] if value is None else [str(value)]


def _possible(value: Scalar) -> bool:
    """Whether a SQLite database can hold *value*; stores may not even be able to ask for it."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _hit(hit: Hit) -> SearchHit:
    payload = hit.payload
    return SearchHit(
        id=hit.id,
        kind=payload.get("kind", ""),
        record_id=payload.get("record_id", ""),
        title=payload.get("title", ""),
        text=hit.text,
        score=hit.score,
        metadata=payload.get("metadata", {}),
        explain=Explanation(dense_rank=hit.dense_rank, sparse_rank=hit.sparse_rank),
    )


def render_hits(response: SearchResponse) -> str:
    """The hits for a person: title, where it comes from, why it is there, and a glimpse."""
    blocks = [_block(number, hit) for number, hit in enumerate(response.hits, start=1)]
    found = f"{len(blocks)} found ({response.mode}, {response.took_ms:.0f} ms)"
    return "\n".join([*blocks, found if blocks else f"nothing {found.removeprefix('0 ')}"])


def _block(number: int, hit: SearchHit) -> str:
    ranks = (("meaning", hit.explain.dense_rank), ("words", hit.explain.sparse_rank))
    why = ", ".join(f"{name} #{rank}" for name, rank in ranks if rank) or "-"
    glimpse = textwrap.shorten(hit.text, 160, placeholder=" ...")
    head = f"{number:>2}. {hit.title or hit.record_id}  [{hit.kind} {hit.record_id}; {why}]"
    return f"{head}\n    {glimpse}"
