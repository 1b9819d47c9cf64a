"""The same data gives the same results, whichever engine holds it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.owner.edge import EdgeEngine
from spark_core_qdrant.server import open_server
from spark_core_qdrant.settings import QdrantSettings
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import Collection, CollectionSpec, Hit, Mode, Point, Query
from spark_core.testing.vectors import point_id

from .stand_in_server import StandIn

pytestmark = pytest.mark.anyio

DIMENSION = 16
WORDS = [a + b for a in ("bear", "gear", "pump", "valv", "mot", "cab", "ax") for b in ("ing", "al")]
KINDS = ["note", "mail", "call"]


def vector(chance: random.Random) -> list[float]:
    return [chance.gauss(0, 1) for _ in range(DIMENSION)]


def text(chance: random.Random, words: int) -> str:
    """Few words, said often: many texts are scored alike."""
    return " ".join(chance.choices(WORDS, weights=range(1, len(WORDS) + 1), k=words))


def points(chance: random.Random, count: int) -> list[Point]:
    return [
        Point(
            point_id(str(number)),
            vector(chance),
            text(chance, chance.randint(1, 30)),
            {"kind": chance.choice(KINDS), "record": number // 3, "year": chance.choice([1, 2])},
        )
        for number in range(count)
    ]


def queries(chance: random.Random, count: int) -> list[Query]:
    filters: list[dict[str, Any]] = [
        {},
        {},
        {"kind": "note"},
        {"kind": ["mail", "call"], "year": 1},
    ]
    return [
        Query(
            mode=list(Mode)[number % 3],
            vector=vector(chance),
            text=text(chance, chance.randint(1, 6)),
            limit=chance.choice([1, 10, 150]),
            filter=chance.choice(filters),
            group_by=chance.choice([None, "record"]),
        )
        for number in range(count)
    ]


@pytest.fixture
async def both(tmp_path: Path, stand_in: StandIn) -> AsyncIterator[list[QdrantStore]]:
    """A store on each engine."""
    async with (
        open_embedded(tmp_path / "index", idle=5.0) as embedded,
        open_server(QdrantSettings(url=stand_in.url)) as server,
    ):
        yield [QdrantStore(embedded), QdrantStore(server)]


async def filled(both: list[QdrantStore], stored: list[Point]) -> list[Collection]:
    lengths = both[0].lengths([point.text for point in stored])
    average = sum(lengths) / len(lengths)
    spec = CollectionSpec(dimension=DIMENSION, embedder="by hand", average_length=average)
    for store in both:
        await store.create("things", spec)
        await store.collection("things").upsert(stored)
    return [store.collection("things") for store in both]


def ranks(hits: list[Hit]) -> list[tuple[Any, ...]]:
    return [(hit.id, hit.dense_rank, hit.sparse_rank, hit.text, hit.payload) for hit in hits]


async def compare(collections: list[Collection], asked: list[Query]) -> None:
    for query in asked:
        one, other = [list(await collection.search(query)) for collection in collections]
        assert ranks(one) == ranks(other), query
        assert [hit.score for hit in one] == pytest.approx([h.score for h in other], abs=1e-4)


async def test_hits_ranks_and_scores_are_the_same(both: list[QdrantStore]) -> None:
    """500 texts and 60 queries of all modes, with and without filters and groups."""
    chance = random.Random(7)
    await compare(await filled(both, points(chance, 500)), queries(chance, 60))


async def test_they_stay_the_same_after_changes(tmp_path: Path, stand_in: StandIn) -> None:
    """Points that were replaced or deleted leave no trace in how rare a word is.

    The embedded engine counts the deleted ones until it is quiet.
    """
    chance = random.Random(8)
    embedded = EdgeEngine(tmp_path)
    async with open_server(QdrantSettings(url=stand_in.url)) as server:
        both = [QdrantStore(embedded), QdrantStore(server)]
        collections = await filled(both, points(chance, 300))
        await change(collections, chance)
        embedded.recount(quiet=True)
        assert await collections[0].count() == await collections[1].count()
        await compare(collections, queries(chance, 30))
    embedded.close()


async def change(collections: list[Collection], chance: random.Random) -> None:
    changed = points(chance, 300)[:100]
    for collection in collections:
        await collection.upsert(changed)
        await collection.delete(ids=[point_id(str(number)) for number in range(50, 150, 3)])
        await collection.delete(filter={"kind": "call"})
