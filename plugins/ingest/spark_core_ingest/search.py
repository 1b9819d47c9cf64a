"""The operation that searches the index."""

from __future__ import annotations

import asyncio
import math
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from spark_core.contracts.embedding import Embedder, Purpose
from spark_core.contracts.records import RecordSource, Scalar
from spark_core.contracts.reranking import Reranker
from spark_core.contracts.vectors import CollectionName, Hit, Mode, Query, VectorStore
from spark_core.errors import InvalidRequest, NotConfigured, NotFound, Problem
from spark_core.settings import nearest

from .budget import fitting, tokens
from .labels import Entities, key_of, labelled, records_of
from .ledger import Ledger
from .runs import Freshness, Runs, freshness
from .settings import IngestSettings

__all__ = ["Explanation", "SearchHit", "SearchRequest", "SearchResponse", "render_hits", "search"]

#: Filter fields that are not metadata.
OWN_FIELDS = ("kind", "record_id", "entity")

#: How many records a reranker is given at least to put in order.
RERANKED = 50


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
        description="Metadata fields, kind, record_id or entity, each with the value it must "
        "have or a list of values of which it must have one.",
    )
    rerank: bool = Field(
        default=False, description="Let the reranker decide which of the hits are best."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="How long all hits together may be, a token taken for four bytes of their "
        "JSON; the last one may be cut, and the first one always comes.",
    )
    collection: CollectionName | None = Field(
        default=None, description="Where to look; by default where the ingest writes."
    )


class Explanation(BaseModel, defer_build=True):
    """Why a hit is where it is: its place in each leg, from 1; none where a leg missed it."""

    dense_rank: int | None
    sparse_rank: int | None
    dense_score: float | None = Field(default=None, description="The cosine.")
    sparse_score: float | None = Field(default=None, description="BM25's.")
    fused_score: float | None = Field(
        default=None, description="What decided before the reranker did."
    )


class SearchHit(BaseModel, defer_build=True):
    """A record that was found, with the piece of its text that matches best."""

    id: str = Field(description="Names the piece.")
    kind: str
    record_id: str
    entity: str | None = Field(default=None, description="Who or what the record is of.")
    title: str
    text: str
    score: float
    metadata: dict[str, Any]
    explain: Explanation


class SearchResponse(Freshness, defer_build=True):
    """What was found, the best first."""

    mode: Mode
    took_ms: float
    tokens: int = Field(default=0, description="About how many tokens the hits are.")
    left_out: int = Field(default=0, description="Hits that were found and did not fit.")
    hits: list[SearchHit]


async def is_in_use(settings: IngestSettings, ledger: Ledger) -> bool:
    """Whether there is anything to search, or will be."""
    return settings.database is not None or not await ledger.is_empty()


async def search(
    request: SearchRequest,
    settings: IngestSettings,
    store: VectorStore,
    embedder: Embedder,
    reranker: Reranker | None,
    entities: Entities | None,
    source: RecordSource | None,
    runs: Runs,
) -> SearchResponse:
    """Search the firm's memory by meaning, by words, or by both."""
    started = time.perf_counter()
    query = await _query(request, settings, embedder, entities)
    found, fresh = await asyncio.gather(
        _found(query, request, settings, store),
        freshness(runs, source, request.collection or settings.collection),
    )
    known = await labelled(found, entities)
    hits = [_hit(hit, known.get(key_of(hit))) for hit in found]
    if request.rerank:
        hits = await _reranked(request, hits, reranker)
    kept = hits if request.max_tokens is None else fitting(hits, request.max_tokens)
    return SearchResponse(
        **dict(fresh),
        mode=request.mode,
        took_ms=round((time.perf_counter() - started) * 1000, 3),
        tokens=sum(map(tokens, kept)),
        left_out=len(hits) - len(kept),
        hits=kept,
    )


async def _query(
    request: SearchRequest,
    settings: IngestSettings,
    embedder: Embedder,
    entities: Entities | None,
) -> Query:
    by_words_alone = request.mode is Mode.SPARSE
    return Query(
        mode=request.mode,
        vector=None if by_words_alone else await _embedded(request.query, embedder),
        embedder=None if by_words_alone else embedder.model,
        text=request.query,
        limit=max(request.limit, RERANKED) if request.rerank else request.limit,
        filter=await _filter(request, settings, entities),
        group_by="record",
    )


async def _reranked(
    request: SearchRequest, hits: Sequence[SearchHit], reranker: Reranker | None
) -> list[SearchHit]:
    """The best of *hits* as the reranker has it.

    :raises NotConfigured: there is none.
    """
    if reranker is None:
        raise NotConfigured(
            "there is no reranker", hint="install one, or search without: rerank = false"
        )
    texts = [f"{hit.title}\n{hit.text}".strip() for hit in hits]
    scores = await reranker.rerank(request.query, texts) if texts else []
    scored = [_rescored(hit, score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(scored, key=lambda hit: hit.score, reverse=True)[: request.limit]


def _rescored(hit: SearchHit, score: float) -> SearchHit:
    explain = hit.explain.model_copy(update={"fused_score": hit.score})
    return hit.model_copy(update={"score": score, "explain": explain})


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


async def _filter(
    request: SearchRequest, settings: IngestSettings, entities: Entities | None
) -> dict[str, Scalar | list[Scalar]]:
    if request.collection in (None, settings.collection):
        _check_fields(request.filter, settings)
    wanted = dict(request.filter)
    asked = wanted.pop("entity", None)
    filter: dict[str, Scalar | list[Scalar]] = {
        key if key in OWN_FIELDS else f"metadata.{key}": _either_type(value)
        for key, value in wanted.items()
    }
    if asked is not None:
        ids = asked if isinstance(asked, list) else [asked]
        filter["record"] = [*await records_of(ids, entities)]
    return filter


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


def _hit(hit: Hit, entity: str | None) -> SearchHit:
    payload = hit.payload
    return SearchHit(
        id=hit.id,
        kind=payload.get("kind", ""),
        record_id=payload.get("record_id", ""),
        entity=entity,
        title=payload.get("title", ""),
        text=hit.text,
        score=hit.score,
        metadata=payload.get("metadata", {}),
        explain=Explanation(
            dense_rank=hit.dense_rank,
            sparse_rank=hit.sparse_rank,
            dense_score=hit.dense_score,
            sparse_score=hit.sparse_score,
        ),
    )


def render_hits(response: SearchResponse) -> str:
    """The hits for a person: title, where it comes from, why it is there, and a glimpse."""
    blocks = [_block(number, hit) for number, hit in enumerate(response.hits, start=1)]
    behind = f", {response.behind_minutes:.0f} minutes behind" if response.behind_minutes else ""
    found = f"{len(blocks)} found ({response.mode}, {response.took_ms:.0f} ms{behind})"
    return "\n".join([*blocks, found if blocks else f"nothing {found.removeprefix('0 ')}"])


def _block(number: int, hit: SearchHit) -> str:
    ranks = (("meaning", hit.explain.dense_rank), ("words", hit.explain.sparse_rank))
    why = ", ".join(f"{name} #{rank}" for name, rank in ranks if rank) or "-"
    glimpse = textwrap.shorten(hit.text, 160, placeholder=" ...")
    head = f"{number:>2}. {hit.title or hit.record_id}  [{hit.kind} {hit.record_id}; {why}]"
    return f"{head}\n    {glimpse}"
