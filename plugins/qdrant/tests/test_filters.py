"""A filter finds the same points, whatever holds them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.filters import field_path
from spark_core_qdrant.server import open_server
from spark_core_qdrant.settings import QdrantSettings
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import Collection, CollectionSpec, Point, VectorStore
from spark_core.errors import InvalidRequest
from spark_core.testing.vectors import FakeVectorStore, point_id

from .stand_in_server import StandIn, serve_stand_in

pytestmark = pytest.mark.anyio

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 1.0, 0.5, -0.0, 1e300, 5e-324),
    *(2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**62 + 1, -(2**63), 2**63 - 1),
    *("", "1", "true", "null", "Brno", "brno", "ä", "a\u0308", "\0", "🙂", "x" * 500),
]

FIELDS = ["kind", "n", "ünï", "the city", "a-b", "7", "a[0]", "*", "a/b", "'", " ", "$", "a:b"]

#: Whole numbers beyond this are told apart only where they are asked for as whole numbers.
EXACT = 2**53 - 1

scalars = st.one_of(
    st.sampled_from(VALUES),
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-EXACT, EXACT),
    st.text(st.characters(exclude_categories=["Cs"])),
)

filters = st.dictionaries(
    st.sampled_from([*FIELDS, *(f"inner.{field}" for field in FIELDS), "nowhere", "n.n"]),
    st.one_of(scalars, st.lists(scalars, max_size=4)),
    max_size=3,
)


def payloads() -> list[dict[str, Any]]:
    chance = random.Random(3)

    def fields() -> dict[str, Any]:
        chosen = chance.sample(FIELDS, chance.randint(0, 8))
        return {field: chance.choice(VALUES) for field in chosen}

    return [{**fields(), "inner": fields()} for _ in range(400)]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def collections(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Collection]]:
    """The same points in memory, embedded, and on the stand-in for a server."""
    directory = tmp_path_factory.mktemp("filters")
    with serve_stand_in(StandIn()) as stand_in:
        async with (
            open_embedded(directory, idle=1.0) as embedded,
            open_server(QdrantSettings(url=stand_in.url)) as server,
        ):
            stores = [FakeVectorStore(), QdrantStore(embedded), QdrantStore(server)]
            yield [await filled(store) for store in stores]


async def filled(store: VectorStore) -> Collection:
    indexed = ("kind", "the city", "inner.kind", "inner.a/b")
    spec = CollectionSpec(dimension=1, embedder="by hand", average_length=1.0, indexed=indexed)
    await store.create("things", spec)
    things = store.collection("things")
    await things.upsert(
        [Point(point_id(str(n)), [1.0], "", payload) for n, payload in enumerate(payloads())]
    )
    return things


@given(filter=filters)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_filter_of_scalars_counts_the_same(
    collections: list[Collection], filter: dict[str, Any]
) -> None:
    """In memory, embedded and on a server; of indexed fields and of others."""
    counts = [await collection.count(filter) for collection in collections]
    assert len(set(counts)) == 1, counts


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
async def test_each_value_is_found_by_itself(collections: list[Collection], value: Any) -> None:
    """And by nothing that only looks like it: 1 is 1.0, but neither is true or "1"."""
    expected = sum(same(payload.get("kind"), value) for payload in payloads())
    for collection in collections:
        assert await collection.count({"kind": value}) == expected
        assert await collection.count({"kind": [value, "nothing else"]}) == expected


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


@pytest.mark.parametrize("field", ["", ".", "a.", ".a", "a..b", 'a"b', "a\\b"])
def test_what_cannot_be_a_fields_name_is_refused(field: str) -> None:
    """The engine's paths could not say it, or would mean something else."""
    with pytest.raises(InvalidRequest):
        field_path(field)


async def test_what_no_payload_can_hold_is_refused(collections: list[Collection]) -> None:
    """The problem points at the filter's field."""
    for value in (2**63, -(2**63) - 1, float("nan"), float("inf"), "\ud800", [float("nan")]):
        for collection in collections[1:]:
            with pytest.raises(InvalidRequest) as raised:
                await collection.count({"n": value})
            assert raised.value.problems[0].pointer.startswith("/filter/n")
