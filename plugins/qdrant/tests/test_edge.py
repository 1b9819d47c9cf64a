"""The embedded engine itself, as it is within its process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from spark_core_qdrant.owner import __main__ as program
from spark_core_qdrant.owner.edge import EdgeEngine
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import Mode, Point, Query
from spark_core.testing.vectors import point_id

from .processes import SPEC, fill, some_points, store_in, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EdgeEngine]:
    """An engine in this process, whose threads take turns as in its own."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(program.TURN)
    engine = EdgeEngine(tmp_path)
    yield engine
    engine.close()
    sys.setswitchinterval(usual)


class Watched:
    """A shard that remembers what it was asked."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self.limits: list[int] = []
        self.read: list[tuple[int, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    def query(self, request: Any) -> Any:
        self.limits.append(request.limit)
        return self._shard.query(request)

    def retrieve(self, ids: list[Any], payload: Any, vector: Any) -> Any:
        self.read.append((len(ids), payload))
        return self._shard.retrieve(ids, payload, vector)


def watched(engine: EdgeEngine) -> Watched:
    """The only shard of *engine*, watched from now on."""
    ((generation, shard),) = engine._shards.items()
    watched: Any = Watched(shard)
    engine._shards[generation] = watched
    found: Watched = watched
    return found


# ---------------------------------------------------------------------------- deep searches

DEEP = Query(vector=[1, 0, 0], text="gear", group_by="note", limit=100)


async def fill_with_a_long_note(engine: EdgeEngine) -> QdrantStore:
    """A note of 6,000 pieces, and three short ones, which are found behind all of it."""
    store = QdrantStore(engine)
    await fill(store, count=0)
    things = store.collection("things")
    long = [Point(point_id(f"long {n}"), [1, 0, 0], "gear", {"note": 1}) for n in range(6_000)]
    short = [Point(point_id(f"short {n}"), [1, 1, n], "gears, say", {"note": n}) for n in (2, 3, 4)]
    await things.upsert([*long, *short])
    return store


async def test_others_are_answered_during_a_deep_search(engine: EdgeEngine) -> None:
    """A long note takes all places at first, so that thousands of points are looked at."""
    store = await fill_with_a_long_note(engine)
    searching = asyncio.create_task(store.collection("things").search(DEEP))
    answered = 0
    while not searching.done():
        answered += await store.collection("things").count({"note": 2})
        await asyncio.sleep(0)
    assert {hit.payload["note"] for hit in await searching} == {1, 2, 3, 4}
    assert answered > 3


async def test_only_the_texts_that_are_shown_are_read(engine: EdgeEngine) -> None:
    """Of the other points nothing but their group, and that once."""
    store = await fill_with_a_long_note(engine)
    shard = watched(engine)
    hits = await store.collection("things").search(DEEP)
    assert sum(count for count, payload in shard.read if payload is True) == len(hits) == 4
    assert sum(count for count, payload in shard.read if payload == ['"note"']) <= 6_003


async def test_a_deep_search_outlasts_the_switch_to_other_points(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    """Its collection is deleted under it: it finds what was there when it began."""
    store = await fill_with_a_long_note(engine)
    await store.create("things__next", SPEC)
    await store.collection("things__next").upsert(some_points(0, 5))
    searching = asyncio.create_task(store.collection("things").search(DEEP))
    await asyncio.sleep(0)
    await store.replace("things", by="things__next")
    assert {hit.payload["note"] for hit in await searching} == {1, 2, 3, 4}
    hits = await store.collection("things").search(DEEP)
    assert {hit.text for hit in hits} == {f"gear {n}" for n in range(5)}
    assert len([name for name in os.listdir(tmp_path) if "generation" in name]) == 1


async def test_points_of_one_score_are_asked_for_up_to_a_bound(engine: EdgeEngine) -> None:
    """However many there are, one query more is made, of 2,000 points more."""
    store = QdrantStore(engine)
    await fill(store, count=0)
    points = [Point(point_id(str(n)), [1, 0, 0], "gear") for n in range(5_000)]
    await store.collection("things").upsert(points)
    shard = watched(engine)
    query = Query(mode=Mode.SPARSE, text="gear", limit=150)
    assert len(await store.collection("things").search(query)) == 150
    assert shard.limits == [151, 2_150]


# --------------------------------------------------------------------- how rare a word is

RARE = Query(mode=Mode.SPARSE, text="gear", limit=1)


async def score(store: QdrantStore) -> float:
    (hit,) = await store.collection("things").search(RARE)
    return hit.score


async def fill_and_change(store: QdrantStore, deleted: int) -> None:
    """One point that says "gear", a hundred that do not, and some that did."""
    others = [Point(point_id(f"other {n}"), [0, 1, 0], "tin") for n in range(100)]
    await fill(store, count=1)
    await store.collection("things").upsert(others)
    changed = some_points(1, deleted)
    await store.collection("things").upsert(changed)
    for half in (changed[::2], changed[1::2]):
        await store.collection("things").delete(ids=[point.id for point in half])


async def test_words_of_deleted_points_are_not_counted_for_long(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    """When it is quiet the collection is as one that never had them."""
    await fill_and_change(QdrantStore(engine), deleted=0)
    pure = await score(QdrantStore(engine))
    await engine.drop("things")
    await fill_and_change(QdrantStore(engine), deleted=5)
    assert await score(QdrantStore(engine)) < pure
    engine.recount(quiet=False)
    assert await score(QdrantStore(engine)) < pure  # five of a hundred can wait
    engine.recount(quiet=True)
    assert await score(QdrantStore(engine)) == pure


async def test_words_of_many_deleted_points_are_not_counted_even_in_traffic(
    engine: EdgeEngine,
) -> None:
    """More than a tenth of all would shift the ranks."""
    store = QdrantStore(engine)
    await fill_and_change(store, deleted=0)
    pure = await score(store)
    await store.drop("things")
    await fill_and_change(store, deleted=20)
    assert await score(store) < pure
    engine.recount(quiet=False)
    assert await score(store) == pure


async def test_a_replaced_point_leaves_no_word_behind(engine: EdgeEngine) -> None:
    """Nothing has to be counted again."""
    store = QdrantStore(engine)
    await fill_and_change(store, deleted=0)
    pure = await score(store)
    others = [Point(point_id(f"other {n}"), [0, 1, 0], "gear") for n in range(20)]
    await store.collection("things").upsert(others)
    assert await score(store) < pure
    await store.collection("things").upsert([Point(p.id, p.vector, "tin") for p in others])
    assert await score(store) == pure


async def test_a_shard_in_use_is_not_opened_anew(engine: EdgeEngine) -> None:
    """A deep search goes on; the words are counted later."""
    store = await fill_with_a_long_note(engine)
    await store.collection("things").delete(filter={"note": 2})
    before = dict(engine._shards)
    searching = asyncio.create_task(store.collection("things").search(DEEP))
    await asyncio.sleep(0)
    engine.recount(quiet=True)
    assert engine._shards == before
    await searching
    engine.recount(quiet=True)
    assert engine._shards != before


async def test_nothing_is_opened_anew_where_nothing_is_gone(engine: EdgeEngine) -> None:
    """Storing new points changes no count that is wrong."""
    await fill_and_change(QdrantStore(engine), deleted=0)
    before = dict(engine._shards)
    engine.recount(quiet=True)
    assert engine._shards == before


async def test_the_owner_recounts_when_it_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself, with the collection in use before and after."""
    monkeypatch.setattr(program, "QUIET", 0.0)
    monkeypatch.setattr(program, "TICK", 0.01)
    owner = program.Owner(tmp_path, idle=60.0)
    serving = asyncio.create_task(owner.serve(tmp_path / "s"))
    await until((tmp_path / "owner.json").exists)
    async with store_in(tmp_path) as store:
        await fill_and_change(store, deleted=0)
        pure = await score(store)
        await store.drop("things")
        await fill_and_change(store, deleted=50)
        async with asyncio.timeout(60):
            while await score(store) != pure:
                pass
    serving.cancel()
    await asyncio.wait([serving])
