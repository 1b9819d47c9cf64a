"""Searching: three modes, filters that forgive types, and hits that explain themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spark_core_ingest.ledger import Ledger
from spark_core_ingest.search import SearchRequest, is_in_use, render_hits
from spark_core_ingest.settings import IngestSettings

from spark_core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from spark_core.spark import check_request
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.records import Row

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["fake", "embedded"])
def any_desk(desk, request):
    if request.param == "embedded":
        desk.store = request.getfixturevalue("embedded_store")
    return desk


@pytest.fixture
async def filled(any_desk):
    """An index of five records, in memory and in the real engine."""
    await any_desk.backfill()
    return any_desk


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
async def test_each_mode_finds_and_explains(filled, mode):
    """A hit has a rank in each leg that was asked, counted from 1, and a score."""
    response = await filled.search("bearings of the pump", mode=mode, limit=2)
    assert response.mode == mode
    assert response.took_ms >= 0
    assert len(response.hits) == 2
    best = response.hits[0]
    assert (best.kind, best.record_id, best.title) == ("note", "1", "Pump")
    assert best.text == "bearings wear out in the north pump"
    assert dict(best.metadata) == {"city": "Brno", "year": 1999}
    assert best.explain.dense_rank == (None if mode == "sparse" else 1)
    assert best.explain.sparse_rank == (None if mode == "dense" else 1)
    scores = [hit.score for hit in response.hits]
    assert scores == sorted(scores, reverse=True)


async def test_the_mode_is_hybrid_unless_told_otherwise(desk):
    """And ten hits are asked for."""
    request = SearchRequest(query="x")
    assert (request.mode, request.limit, request.filter) == ("hybrid", 10, {})


async def test_a_record_is_found_once(filled):
    """Of its pieces the best is shown; the limit counts records."""
    filled.rows["note"].append(Row("long", "gearbox and bearings. " * 500, "Long"))
    await filled.backfill()
    for mode in ("dense", "sparse", "hybrid"):
        hits = (await filled.search("gearbox and bearings", mode=mode, limit=3)).hits
        names = [(hit.kind, hit.record_id) for hit in hits]
        assert len(names) == len(set(names)) == 3
        assert ("note", "long") in names


FILTERS = [
    ({"city": "Graz"}, {"2"}),
    ({"city": ["Graz", "Linz"]}, {"2", "3"}),
    ({"year": 2001}, {"2", "3"}),
    ({"year": "2001"}, {"2", "3"}),
    ({"year": 2001.0}, {"2", "3"}),
    ({"year": ["1999", 2001]}, {"1", "2", "3"}),
    ({"year": 2001, "city": "Linz"}, {"3"}),
    ({"kind": "note", "record_id": 1}, {"1"}),
    ({"kind": "note", "record_id": ["1", 3]}, {"1", "3"}),
    ({"kind": "mail"}, {"1", "2"}),
    ({"kind": ["mail", "note"], "year": None}, {"1", "2"}),
    ({"city": []}, set()),
    ({"city": "graz"}, set()),
    ({"year": float("nan")}, set()),
    ({"year": "nan"}, set()),
    ({"year": "inf"}, set()),
    ({"year": 10**400}, set()),
    ({"year": [2**63, "9" * 400, 1999]}, {"1"}),
]


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
async def test_a_filter_takes_a_value_or_a_list_of_either_type(filled, mode):
    """Numbers and texts that look the same match each other: SQLite's columns hold either."""
    for filter, ids in FILTERS:
        found = await filled.found("anything", mode=mode, filter=filter, limit=50)
        assert (set(found), filter) == (ids, filter)


async def test_numbers_kept_as_text_are_found_by_number(desk):
    """And truth, which SQLite keeps as 1 and 0, by truth."""
    row = {"city": "1234", "year": 1}
    desk.rows["note"] = [Row("1", "text", "", row), Row("2", "text", "", {"city": "x", "year": 0})]
    desk.rows["mail"] = []
    await desk.backfill()
    for city in (1234, 1234.0, "1234"):
        assert await desk.found("text", filter={"city": city}) == ["1"]
    assert await desk.found("text", filter={"year": True}) == ["1"]
    assert await desk.found("text", filter={"year": False}) == ["2"]


@pytest.mark.parametrize(
    ("field", "pointer", "near"),
    [
        ("ctiy", "/filter/ctiy", "city"),
        ("metadata.city", "/filter/metadata.city", ""),
        ("record", "/filter/record", "record_id"),
        ("a/b~c", "/filter/a~1b~0c", ""),
        ("", "/filter/", ""),
    ],
)
async def test_an_unknown_field_is_refused(desk, field, pointer, near):
    """A misspelt field would find nothing and look like an answer."""
    await desk.backfill()
    with pytest.raises(InvalidRequest) as caught:
        await desk.search("pump", filter={field: 1})
    (problem,) = caught.value.problems
    assert problem.pointer == pointer
    assert (f"did you mean {near!r}" in problem.detail) == bool(near)


async def test_another_collection_can_be_searched(desk):
    """Its fields are not this mapping's, so any may be asked for."""
    await desk.backfill()
    desk.set(collection="others")
    assert await desk.found("pump", collection="crm_chunks", filter={"city": "Brno"}) == ["1"]
    assert await desk.found("pump", collection="crm_chunks", filter={"colour": 1}) == []


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
async def test_a_collection_that_does_not_exist_is_not_found(filled, mode):
    """The error names it."""
    with pytest.raises(NotFound, match="elsewhere"):
        await filled.search("pump", mode=mode, collection="elsewhere")


async def test_searching_before_indexing_says_what_to_do(desk):
    """The first error that somebody meets tells the command that helps."""
    with pytest.raises(NotFound, match="nothing has been indexed in crm_chunks") as caught:
        await desk.search("pump")
    assert caught.value.hint == "spark ingest backfill"


async def test_words_alone_need_no_embedder(desk):
    """The sparse mode works while the embedder is down."""
    await desk.backfill()
    calls = desk.embedder.calls
    desk.embedder.failure = Unavailable("down")
    assert await desk.found("pump") == ["1"]
    assert desk.embedder.calls == calls
    for mode in ("dense", "hybrid"):
        with pytest.raises(Unavailable):
            await desk.search("pump", mode=mode)


async def test_an_index_of_another_embedder_is_not_searched_by_meaning(filled):
    """The vectors do not compare; words still do."""
    filled.embedder = FakeEmbedder(model="another")
    with pytest.raises(Conflict):
        await filled.search("pump")
    assert await filled.found("pump") == ["1"]


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        ({}, "/query"),
        ({"query": ""}, "/query"),
        ({"query": " \t\n\u2003"}, "/query"),
        ({"query": 7}, "/query"),
        ({"query": "x" * 100_001}, "/query"),
        ({"query": "half a pair \ud83d"}, "/query"),
        ({"query": "x", "mode": "fuzzy"}, "/mode"),
        ({"query": "x", "limit": 0}, "/limit"),
        ({"query": "x", "limit": 101}, "/limit"),
        ({"query": "x", "limit": "many"}, "/limit"),
        ({"query": "x", "filter": "city"}, "/filter"),
        ({"query": "x", "filter": {"city": {"gt": 3}}}, "/filter/city"),
        ({"query": "x", "collection": "../secrets"}, "/collection"),
        ({"query": "x", "colection": "y"}, "/colection"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_request_that_cannot_be_is_pointed_at(request_, pointer):
    """Wrong types, empty queries and unknown fields are refused with the place."""
    from spark_core_ingest import spark_register_operations

    (search,) = (o for o in spark_register_operations() if o.name == "search")
    with pytest.raises(InvalidRequest) as caught:
        check_request(search, request_)
    assert pointer in {problem.pointer for problem in caught.value.problems}


async def test_a_query_without_words_is_no_error(filled):
    """By words it finds nothing, by meaning it finds what is nearest."""
    for query in ("the", "?!", "of the and", "🙂", "q\0z", "\u202e"):
        assert (await filled.found(query), query) == ([], query)
        assert len((await filled.search(query)).hits) == 5


async def test_a_very_long_query_is_answered(filled):
    """Somebody pastes a letter."""
    assert await filled.found("bearings and other words " * 3900)


async def test_what_is_found_can_be_written_as_json(filled):
    """With the names of the contract."""
    answer = json.loads((await filled.search("pump")).model_dump_json())
    fresh = ["as_of", "behind_minutes"]
    assert list(answer) == [*fresh, "mode", "took_ms", "tokens", "left_out", "hits"]
    fields = ["id", "kind", "record_id", "entity", "title", "text", "score", "metadata", "explain"]
    assert list(answer["hits"][0]) == fields
    legs = ["dense_rank", "sparse_rank", "dense_score", "sparse_score", "fused_score"]
    assert list(answer["hits"][0]["explain"]) == legs
    assert {type(hit["record_id"]) for hit in answer["hits"]} == {str}


async def test_points_of_somebody_else_are_shown_as_far_as_they_go(desk):
    """A collection that another program filled has hits without our fields."""
    from spark_core.contracts.vectors import Point
    from spark_core.testing.vectors import SPEC, point_id

    await desk.store.create("foreign", SPEC)
    await desk.store.collection("foreign").upsert([Point(point_id("x"), [1, 0, 0], "a pump")])
    (hit,) = (await desk.search("pump", mode="sparse", collection="foreign")).hits
    assert (hit.kind, hit.record_id, hit.title, hit.metadata) == ("", "", "", {})


async def test_hits_are_told_to_a_person(desk):
    """A line with title and reason, and a glimpse of the text."""
    await desk.backfill()
    shown = render_hits(await desk.search("bearings pump", limit=1))
    assert shown.startswith(" 1. Pump  [note 1; meaning #1, words #1]\n    bearings wear out")
    assert shown.endswith(" ms)")
    nothing = render_hits(await desk.search("zzz", mode="sparse"))
    assert nothing.startswith("nothing found (sparse, ")


async def test_search_is_in_use_where_there_is_a_database_or_an_index(state):
    """Else nobody needs the model that it searches with."""
    ledger = Ledger(state)
    nothing, named = IngestSettings(), IngestSettings(database=Path("crm.db"))
    assert [await is_in_use(s, ledger) for s in (nothing, named)] == [False, True]
    await ledger.claim("a")
    assert await is_in_use(nothing, ledger)
