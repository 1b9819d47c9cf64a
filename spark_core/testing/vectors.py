"""What every vector store must do, and one in memory that does it.

An implementer subclasses :class:`VectorStoreConformance` and overrides the ``store`` fixture::

    class TestMyStore(VectorStoreConformance):
        @pytest.fixture
        async def store(self):
            async with open_my_store() as store:
                yield store
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from ..contracts.vectors import CollectionSpec, Mode, Point, Query, VectorStore
from ..errors import Conflict, InvalidRequest, NotFound
from .fake_vectors import FakeCollection, FakeVectorStore
from .suites import AsyncSuite

__all__ = ["FakeCollection", "FakeVectorStore", "VectorStoreConformance", "point_id"]


def point_id(name: str) -> str:
    """A point's id made from a name, the same every time."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


SPEC = CollectionSpec(dimension=3, embedder="by hand", average_length=4.0, indexed=("kind",))

FIRST, SECOND, THIRD = point_id("first"), point_id("second"), point_id("third")

POINTS = [
    Point(FIRST, [1, 0, 0], "bearings and gears", {"kind": "note", "meta": {"year": 1999}}),
    Point(SECOND, [0.8, 0.6, 0], "gears gears gears", {"kind": "note", "meta": {"year": 2001}}),
    Point(THIRD, [0, 0, 1], "invoice for paper", {"kind": "mail", "meta": {"the city": "Brno"}}),
]


#: A query for both legs.
QUERY: Mapping[str, Any] = {"vector": [1, 0, 0], "text": "gears"}


class VectorStoreConformance(AsyncSuite):
    """The rules, one test each."""

    @pytest.fixture
    def store(self) -> VectorStore:
        """The store under test: override this."""
        raise NotImplementedError("override the store fixture")

    @pytest.fixture
    async def filled(self, store: VectorStore) -> VectorStore:
        """The store with a collection ``things`` of three points."""
        await store.create("things", SPEC)
        await store.collection("things").upsert(POINTS)
        return store

    async def test_a_new_collection_is_described_as_it_was_specified(
        self, store: VectorStore
    ) -> None:
        """What create returns and describe tells agree, and hold the spec."""
        created = await store.create("things", SPEC)
        assert await store.collection("things").describe() == created
        assert created.spec == SPEC
        assert (created.name, created.points) == ("things", 0)
        assert [info.name for info in await store.collections()] == ["things"]

    async def test_a_second_collection_of_the_same_name_conflicts(self, store: VectorStore) -> None:
        """Create never replaces."""
        await store.create("things", SPEC)
        with pytest.raises(Conflict):
            await store.create("things", SPEC)

    @pytest.mark.parametrize(
        "name", ["", "../x", "a/b", "a b", "a?b", "-a", ".", "ä", "x" * 129, "a\n"]
    )
    async def test_an_unsafe_name_is_refused(self, store: VectorStore, name: str) -> None:
        """A name becomes a path and a URL, so only plain ones are taken."""
        with pytest.raises(InvalidRequest):
            store.collection(name)
        with pytest.raises(InvalidRequest):
            await store.create(name, SPEC)

    async def test_what_does_not_exist_is_not_found(self, store: VectorStore) -> None:
        """Every method of an absent collection says so; dropping it is fine."""
        absent = store.collection("absent")
        with pytest.raises(NotFound, match="absent"):
            await absent.describe()
        with pytest.raises(NotFound):
            await absent.upsert(POINTS)
        with pytest.raises(NotFound):
            await absent.search(Query(mode=Mode.SPARSE, text="gears"))
        with pytest.raises(NotFound):
            await absent.count()
        with pytest.raises(NotFound):
            await store.replace("things", by="absent")
        await store.drop("absent")

    async def test_dense_search_orders_by_cosine(self, filled: VectorStore) -> None:
        """The nearest direction comes first, and every hit has its dense rank."""
        hits = await filled.collection("things").search(Query(mode=Mode.DENSE, vector=[2, 0, 0]))
        assert [hit.id for hit in hits] == [FIRST, SECOND, THIRD]
        assert [hit.dense_rank for hit in hits] == [1, 2, 3]
        assert {hit.sparse_rank for hit in hits} == {None}
        assert hits[0].score == pytest.approx(1.0, abs=1e-4)

    async def test_sparse_search_finds_words(self, filled: VectorStore) -> None:
        """Only texts with a word of the query are found, the one that says it more first."""
        hits = await filled.collection("things").search(Query(mode=Mode.SPARSE, text="gears"))
        assert [hit.id for hit in hits] == [SECOND, FIRST]
        assert [hit.sparse_rank for hit in hits] == [1, 2]
        assert {hit.dense_rank for hit in hits} == {None}

    async def test_a_rare_word_weighs_more_than_a_frequent_one(self, filled: VectorStore) -> None:
        """BM25 knows how rare a word is."""
        hits = await filled.collection("things").search(
            Query(mode=Mode.SPARSE, text="bearings gears")
        )
        assert hits[0].id == FIRST

    async def test_a_word_said_twice_in_the_query_counts_twice(self, store: VectorStore) -> None:
        """The query's term counts matter."""
        await store.create("things", SPEC)
        points = [Point(FIRST, [1, 0, 0], "copper"), Point(SECOND, [1, 0, 0], "tin")]
        await store.collection("things").upsert(points)
        once = await store.collection("things").search(Query(mode=Mode.SPARSE, text="copper"))
        twice = await store.collection("things").search(
            Query(mode=Mode.SPARSE, text="copper copper")
        )
        assert twice[0].score == pytest.approx(2 * once[0].score, rel=1e-3)

    async def test_hybrid_search_joins_both_ranks(self, filled: VectorStore) -> None:
        """The score is the sum of 1 / (60 + rank) over the legs that found the point."""
        query = Query(vector=[1, 0, 0], text="gears")
        hits = await filled.collection("things").search(query)
        by_id = {hit.id: hit for hit in hits}
        assert (by_id[FIRST].dense_rank, by_id[FIRST].sparse_rank) == (1, 2)
        assert (by_id[SECOND].dense_rank, by_id[SECOND].sparse_rank) == (2, 1)
        assert by_id[FIRST].score == pytest.approx(1 / 61 + 1 / 62)
        assert (by_id[THIRD].dense_rank, by_id[THIRD].sparse_rank) == (3, None)
        assert hits[-1].id == THIRD

    async def test_hybrid_hits_have_the_scores_of_each_leg(self, filled: VectorStore) -> None:
        """Those that the leg alone gives; a leg that missed the point gives none."""
        things = filled.collection("things")
        alone = {
            mode: {h.id: h.score for h in await things.search(Query(mode=mode, **QUERY))}
            for mode in (Mode.DENSE, Mode.SPARSE)
        }
        for hit in await things.search(Query(**QUERY)):
            assert hit.dense_score == pytest.approx(alone[Mode.DENSE].get(hit.id))
            assert hit.sparse_score == pytest.approx(alone[Mode.SPARSE].get(hit.id))

    async def test_hits_give_back_text_and_payload(self, filled: VectorStore) -> None:
        """What was stored comes back as it was."""
        query = Query(mode=Mode.SPARSE, text="invoice")
        (hit,) = await filled.collection("things").search(query)
        assert hit.text == "invoice for paper"
        assert hit.payload == {"kind": "mail", "meta": {"the city": "Brno"}}

    async def test_limit_bounds_the_hits(self, filled: VectorStore) -> None:
        """At most limit hits come back."""
        query = Query(vector=[1, 0, 0], text="gears", limit=1)
        assert len(await filled.collection("things").search(query)) == 1

    async def test_a_group_shows_its_best_point_only(self, filled: VectorStore) -> None:
        """With group_by, one hit per value of the field."""
        query = Query(mode=Mode.DENSE, vector=[1, 0, 0], group_by="kind")
        hits = await filled.collection("things").search(query)
        assert [hit.id for hit in hits] == [FIRST, THIRD]

    async def test_a_group_of_very_many_points_leaves_room_for_others(
        self, filled: VectorStore
    ) -> None:
        """One long note does not hide everything else."""
        many = [
            Point(point_id(f"many {n}"), [1, n / 1e6, 0], "gears gears gears", {"kind": "book"})
            for n in range(600)
        ]
        await filled.collection("things").upsert(many)
        query = Query(vector=[1, 0, 0], text="gears", group_by="kind", limit=3)
        hits = await filled.collection("things").search(query)
        assert {hit.payload["kind"] for hit in hits} == {"book", "note", "mail"}

    @pytest.mark.parametrize(
        ("filter", "ids"),
        [
            ({"kind": "note"}, {FIRST, SECOND}),
            ({"kind": ["mail", "fax"]}, {THIRD}),
            ({"kind": []}, set()),
            ({"meta.year": 1999}, {FIRST}),
            ({"meta.year": 1999.0}, {FIRST}),
            ({"meta.year": [2001, "none"]}, {SECOND}),
            ({"meta.the city": "Brno"}, {THIRD}),
            ({"meta.year": None}, {THIRD}),
            ({"kind": "note", "meta.year": 2001}, {SECOND}),
            ({"nowhere": "x"}, set()),
            ({}, {FIRST, SECOND, THIRD}),
        ],
    )
    async def test_filters_bound_search_count_and_scroll_alike(
        self, filled: VectorStore, filter: dict[str, Any], ids: set[str]
    ) -> None:
        """A value, or any of several, for each field."""
        things = filled.collection("things")
        query = Query(mode=Mode.DENSE, vector=[1, 1, 1], filter=filter)
        assert {hit.id for hit in await things.search(query)} == ids
        assert await things.count(filter) == len(ids)
        assert {hit.id for hit in await things.scroll(filter=filter)} == ids

    async def test_upsert_replaces_the_point_of_the_same_id(self, filled: VectorStore) -> None:
        """Nothing is doubled, and nothing of the old point is left."""
        things = filled.collection("things")
        await things.upsert([Point(FIRST, [0, 1, 0], "tin", {"kind": "new"})])
        assert await things.count() == 3
        assert await things.search(Query(mode=Mode.SPARSE, text="bearings")) == []
        (hit,) = await things.search(Query(mode=Mode.SPARSE, text="tin"))
        assert (hit.id, hit.payload) == (FIRST, {"kind": "new"})

    @pytest.mark.parametrize(
        "bad",
        [
            Point(point_id("x"), [1, 0], "short"),
            Point(point_id("x"), [1, 0, math.nan], "not a number"),
            Point(point_id("x"), [1, 0, math.inf], "infinite"),
            Point("seven", [1, 0, 0], "no id"),
        ],
        ids=lambda point: point.text,
    )
    async def test_a_bad_point_stores_nothing_of_its_batch(
        self, filled: VectorStore, bad: Point
    ) -> None:
        """All are checked before the first is stored."""
        things = filled.collection("things")
        good = Point(point_id("good"), [1, 0, 0], "good", {})
        with pytest.raises(InvalidRequest):
            await things.upsert([good, bad])
        assert await things.count() == 3

    async def test_an_upsert_that_was_cancelled_can_be_said_again(self, store: VectorStore) -> None:
        """What it has stored by then is whole and searched; the second time nothing is doubled."""
        await store.create("things", SPEC)
        things = store.collection("things")
        points = [Point(point_id(str(n)), [1, n, 0], f"gear {n}", {"n": n}) for n in range(600)]
        storing = asyncio.create_task(things.upsert(points))
        while not storing.done() and await things.count() == 0:  # noqa: ASYNC110 (only it knows)
            await asyncio.sleep(0)  # some stores never wait
        storing.cancel()
        await asyncio.wait([storing])
        for hit in await things.scroll(limit=600):
            assert hit.text == f"gear {hit.payload['n']}"
        await things.upsert(points)
        assert await things.count() == 600

    async def test_points_are_deleted_by_id_and_by_filter(self, filled: VectorStore) -> None:
        """Unknown ids are fine; deleting by nothing deletes nothing."""
        things = filled.collection("things")
        await things.delete()
        await things.delete(ids=[point_id("unknown")])
        assert await things.count() == 3
        await things.delete(ids=[THIRD])
        assert await things.count() == 2
        await things.delete(filter={"kind": "note"})
        assert await things.count() == 0

    async def test_scroll_reads_everything_once_in_the_order_of_ids(
        self, filled: VectorStore
    ) -> None:
        """Page by page, nothing is left out and nothing comes twice."""
        things = filled.collection("things")
        seen: list[str] = []
        while page := await things.scroll(after=seen[-1] if seen else None, limit=2):
            seen += [hit.id for hit in page]
        assert seen == sorted([FIRST, SECOND, THIRD])

    async def test_replace_switches_to_the_other_collection(self, filled: VectorStore) -> None:
        """The name answers from the new points; the other name is gone."""
        old = await filled.collection("things").describe()
        made = await filled.create("things__next", SPEC)
        await filled.collection("things__next").upsert(
            [Point(point_id("new"), [1, 0, 0], "tungsten", {})]
        )
        switched = await filled.replace("things", by="things__next")
        assert switched.generation == made.generation != old.generation
        assert [info.name for info in await filled.collections()] == ["things"]
        (hit,) = await filled.collection("things").search(Query(vector=[1, 0, 0], text="tungsten"))
        assert hit.text == "tungsten"

    async def test_replace_makes_a_name_that_was_not_there(self, store: VectorStore) -> None:
        """The first build needs no old collection."""
        await store.create("things__next", SPEC)
        await store.replace("things", by="things__next")
        assert [info.name for info in await store.collections()] == ["things"]

    async def test_searches_are_answered_while_collections_are_switched(
        self, filled: VectorStore
    ) -> None:
        """There is no moment without an index."""
        things = filled.collection("things")
        switching = asyncio.create_task(self._switch(filled, times=5))
        searches = 0
        while not switching.done() or searches == 0:
            assert len(await things.search(Query(mode=Mode.DENSE, vector=[1, 0, 0]))) == 3
            searches += 1
            await asyncio.sleep(0)  # some stores never wait, and would starve the switching
        await switching

    async def _switch(self, store: VectorStore, times: int) -> None:
        for _ in range(times):
            await store.create("things__next", SPEC)
            await store.collection("things__next").upsert(POINTS)
            await store.replace("things", by="things__next")

    async def test_a_dropped_collection_can_be_made_again(self, filled: VectorStore) -> None:
        """It comes back empty."""
        await filled.drop("things")
        await filled.create("things", SPEC)
        assert await filled.collection("things").count() == 0

    async def test_lengths_leave_stop_words_out(self, store: VectorStore) -> None:
        """A text's length is in tokens that BM25 sees."""
        assert list(store.lengths(["", "gears gears bearings", "the gears"])) == [0, 3, 1]

    async def test_odd_texts_are_stored_as_they_are(self, store: VectorStore) -> None:
        """Empty, very long and unusual texts come back to the letter."""
        await store.create("things", SPEC)
        texts = ["", "x" * 100_000, "naïve \u0000 🙂 \u202e مرحبا 漢字", "\ud7ff\ue000"]
        points = [Point(point_id(str(i)), [1, 0, 0], text) for i, text in enumerate(texts)]
        await store.collection("things").upsert(points)
        await store.collection("things").flush()
        found = {hit.id: hit.text for hit in await store.collection("things").scroll()}
        assert found == {point.id: point.text for point in points}

    async def test_a_query_of_no_words_finds_nothing_sparse(self, filled: VectorStore) -> None:
        """Stop words alone, or nothing, match no text; the dense leg is not disturbed."""
        things = filled.collection("things")
        for text in ("", "the", "?!"):
            assert await things.search(Query(mode=Mode.SPARSE, text=text)) == []
            assert len(await things.search(Query(vector=[1, 0, 0], text=text))) == 3

    async def test_concurrent_writers_lose_nothing(self, store: VectorStore) -> None:
        """Batches stored at the same time are all there."""
        await store.create("things", SPEC)
        things = store.collection("things")
        batches = [
            [Point(point_id(f"{b}-{i}"), [1, b, i], f"text {b} {i}") for i in range(50)]
            for b in range(8)
        ]
        await asyncio.gather(*(things.upsert(batch) for batch in batches))
        assert await things.count() == 400

    @pytest.mark.parametrize(
        "query",
        [
            Query(mode=Mode.DENSE, text="no vector"),
            Query(mode=Mode.SPARSE, vector=[1, 0, 0]),
            Query(mode=Mode.DENSE, vector=[1, math.nan, 0]),
            Query(mode=Mode.DENSE, vector=[1, 0]),
        ],
        ids=["no vector", "no text", "not finite", "wrong dimension"],
    )
    async def test_an_impossible_query_is_refused(self, filled: VectorStore, query: Query) -> None:
        """What a mode needs must be there and fit."""
        with pytest.raises(InvalidRequest):
            await filled.collection("things").search(query)

    async def test_a_vector_of_another_model_is_refused(self, filled: VectorStore) -> None:
        """Vectors of two spaces compare to nonsense, even where they are of one length."""
        query = Query(mode=Mode.DENSE, vector=[1, 0, 0], embedder="another")
        with pytest.raises(Conflict):
            await filled.collection("things").search(query)
        matching = query.model_copy(update={"embedder": SPEC.embedder})
        assert await filled.collection("things").search(matching)
