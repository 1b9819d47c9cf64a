"""What the store takes, and what it refuses before an engine sees it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_qdrant.server import open_server
from spark_core_qdrant.settings import QdrantSettings
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import Mode, Point, Query
from spark_core.errors import InvalidRequest
from spark_core.testing.vectors import FIRST, point_id

from .processes import SPEC, emptied_store
from .stand_in_server import StandIn

pytestmark = pytest.mark.anyio

#: A store for what is refused before any engine sees it.
STORE = QdrantStore(None)  # type: ignore[arg-type]


@pytest.fixture(params=["embedded", "server"])
async def store(
    request: pytest.FixtureRequest, shared_directory: Path, stand_in: StandIn
) -> AsyncIterator[QdrantStore]:
    """A store on each engine."""
    if request.param == "embedded":
        async with emptied_store(shared_directory) as store:
            yield store
    else:
        async with open_server(QdrantSettings(url=stand_in.url)) as engine:
            yield QdrantStore(engine)


@given(name=st.text())
def test_a_name_that_is_taken_has_no_special_characters(name: str) -> None:
    """Neither a path's nor a URL's, nor any that either would have to escape."""
    try:
        STORE.collection(name)
    except InvalidRequest:
        return
    assert name == quote(name, safe="")
    assert "." not in name
    assert Path("folder", name).parent == Path("folder")


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", fullmatch=True))
def test_every_name_of_the_contract_is_taken(name: str) -> None:
    """As the contract writes it down."""
    STORE.collection(name)


def nested(depth: int) -> dict[str, Any]:
    inner: Any = 1
    for _ in range(depth):
        inner = {"deeper": inner}
    return {"field": inner}


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ({"field": math.nan}, "/1/payload/field"),
        ({"field": [1, -math.inf]}, "/1/payload/field/1"),
        ({"field": 2**63}, "/1/payload/field"),
        ({"field": {"a": -(2**63) - 1}}, "/1/payload/field/a"),
        ({"field": "\ud800"}, "/1/payload/field"),
        ({"\udfff": 1}, "/1/payload"),
        ({"field": {1: 2}}, "/1/payload/field"),
        ({"field": b"bytes"}, "/1/payload/field"),
        ({"field": {1, 2}}, "/1/payload/field"),
        ({"field": datetime(2026, 1, 1)}, "/1/payload/field"),
        (nested(33), "/1/payload/field"),
        ({"text": "mine"}, "/1/payload/text"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_payload_that_is_no_json_is_refused(payload: dict[str, Any], pointer: str) -> None:
    """Before any engine is asked to store its batch; the problem says where it lies."""
    points = [Point(FIRST, [1, 0, 0], "good"), Point(FIRST, [1, 0, 0], "bad", payload)]
    with pytest.raises(InvalidRequest) as raised:
        await STORE.collection("things").upsert(points)
    assert raised.value.problems[0].pointer.startswith(pointer)


async def test_a_payload_of_json_comes_back_as_it_was(store: QdrantStore) -> None:
    """To the last bit of its numbers."""
    payload = {
        "numbers": [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, 1e300, 5e-324, -0.0],
        "texts": ["", "\0", "ä🙂", "x" * 10_000],
        "others": [None, True, False, [], {}, [[]]],
        "odd names": {"": 1, "a.b": 2, 'q"uote': 3, "\\": 4, "\n": 5, "漢": 6},
        "deep": nested(25),
    }
    await store.create("things", SPEC)
    await store.collection("things").upsert([Point(FIRST, [1, 0, 0], "", payload)])
    (hit,) = await store.collection("things").scroll()
    assert hit.payload == payload
    assert repr(hit.payload) == repr(payload)


async def test_half_characters_are_refused(store: QdrantStore) -> None:
    """In a point's text and in a query's."""
    await store.create("things", SPEC)
    with pytest.raises(InvalidRequest, match="/0/text"):
        await store.collection("things").upsert([Point(FIRST, [1, 0, 0], "half \ud800")])
    with pytest.raises(InvalidRequest, match="/text"):
        await store.collection("things").search(Query(mode=Mode.SPARSE, text="half \ud800"))


@pytest.mark.parametrize("field", ["", "a..b", 'a"b', "a\\b"])
async def test_a_field_that_cannot_be_indexed_is_refused(store: QdrantStore, field: str) -> None:
    """And no half-made collection is left."""
    spec = SPEC.model_copy(update={"indexed": ("kind", field)})
    with pytest.raises(InvalidRequest):
        await store.create("things", spec)
    assert await store.collections() == []


async def test_any_other_field_can_be_indexed(store: QdrantStore) -> None:
    """Whatever a database's columns are called."""
    fields = ("the city", "ünï", "a[0]", "inner.two words", "*", "7")
    await store.create("things", SPEC.model_copy(update={"indexed": fields}))
    payload = {"the city": "Brno", "inner": {"two words": "x"}}
    await store.collection("things").upsert([Point(FIRST, [1, 0, 0], "", payload)])
    for filter in ({"the city": "Brno"}, {"inner.two words": "x"}):
        assert await store.collection("things").count(filter) == 1


@pytest.mark.parametrize("limit", [1, 101, 10**6, 2**31, 2**63, 2**70])
async def test_a_limit_may_be_any_number(store: QdrantStore, limit: int) -> None:
    """More than there is gets what there is."""
    await store.create("things", SPEC)
    points = [Point(point_id(str(n)), [1, n, 0], "gear") for n in range(3)]
    await store.collection("things").upsert(points)
    hits = await store.collection("things").search(
        Query(vector=[1, 0, 0], text="gear", limit=limit)
    )
    assert len(hits) == min(limit, 3)
    assert len(await store.collection("things").scroll(limit=limit)) == min(limit, 3)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_has_at_least_one_point(store: QdrantStore, limit: int) -> None:
    """An empty page means that all is read, so it cannot be asked for."""
    await store.create("things", SPEC)
    with pytest.raises(InvalidRequest, match="/limit"):
        await store.collection("things").scroll(limit=limit)


async def test_groups_may_be_lists(store: QdrantStore) -> None:
    """Points whose field holds the same list are one group; those without one are alone."""
    await store.create("things", SPEC)
    tags: list[Any] = [["a"], ["a"], ["b"], {"a": 1}, {"a": 1}, None, None, 1, 1.0]
    points = [
        Point(point_id(str(n)), [1, n / 100, 0], "", {"tags": tag}) for n, tag in enumerate(tags)
    ]
    await store.collection("things").upsert(points)
    query = Query(mode=Mode.DENSE, vector=[1, 0, 0], group_by="tags")
    hits = await store.collection("things").search(query)
    assert [hit.payload["tags"] for hit in hits] == [["a"], ["b"], {"a": 1}, None, None, 1]


async def test_points_of_one_score_come_in_the_order_of_their_ids(store: QdrantStore) -> None:
    """However they were stored, and also where a leg is cut off among them."""
    await store.create("things", SPEC)
    points = [Point(point_id(str(n)), [1, 0, 0], "gear", {}) for n in range(500)]
    await store.collection("things").upsert(points[::-1])
    await store.collection("things").upsert(points[100:200])
    first = sorted(point.id for point in points)[:10]
    for mode in Mode:
        query = Query(mode=mode, vector=[1, 0, 0], text="gear")
        assert [hit.id for hit in await store.collection("things").search(query)] == first


async def test_ids_are_told_by_their_value(store: QdrantStore) -> None:
    """A UUID may be written in several ways; in one batch the last of an id counts."""
    await store.create("things", SPEC)
    ways = [FIRST, FIRST.upper(), FIRST.replace("-", ""), f"{{{FIRST}}}", f"urn:uuid:{FIRST}"]
    things = store.collection("things")
    await things.upsert([Point(id, [1, 0, 0], f"text {n}") for n, id in enumerate(ways)])
    (hit,) = await things.scroll()
    assert (hit.id, hit.text) == (FIRST, f"text {len(ways) - 1}")
    await things.delete(ids=[FIRST.upper()])
    assert await things.count() == 0


@pytest.mark.parametrize("vector", [[1, 0, "x"], [1, 0, 1e39], [1, 0, None], 5, "abc", None])
async def test_a_vector_is_finite_numbers(vector: Any) -> None:
    """In the 32 bits that engines keep of each."""
    with pytest.raises(InvalidRequest, match="/0/vector"):
        await STORE.collection("things").upsert([Point(FIRST, vector, "")])
