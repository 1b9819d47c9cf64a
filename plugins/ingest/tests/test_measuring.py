"""BM25 is told the mean length of all pieces before the first one is stored."""

from __future__ import annotations

import pytest
from spark_core_ingest.indexing import average_length

from spark_core.testing.records import Row

pytestmark = pytest.mark.anyio


async def test_bm25_is_given_the_true_mean_length(desk):
    """It is measured over the pieces before the first one is stored."""
    await desk.backfill()
    texts = [point.text for point in await desk.points()]
    mean = sum(desk.store.lengths(texts)) / len(texts)
    assert (await desk.status()).average_length == pytest.approx(mean, abs=0.01)


async def test_the_mean_length_of_many_texts_is_that_of_a_part(desk, monkeypatch):
    """Behind the first ones of each kind some stand for all, wherever the long ones are."""
    monkeypatch.setattr("spark_core_ingest.indexing.MEASURED", 500)
    long = [Row(f"{n:05}", "word " * (20 + n % 5)) for n in range(1000, 3500)]
    desk.rows["mail"] = [Row(f"{n:05}", "word " * (1 + n % 3)) for n in range(3000)]
    desk.rows["note"] = [Row(f"{n:05}", "word") for n in range(1000)] + long
    measured = 0
    lengths = desk.store.lengths

    def counted(texts):
        nonlocal measured
        measured += len(texts)
        return lengths(texts)

    desk.store.lengths = counted
    estimate = await average_length(desk.source, desk.store, 2000, desk.progress)
    assert measured < 2000
    await desk.backfill()
    texts = [point.text for point in await desk.points()]
    mean = sum(lengths(texts)) / len(texts)
    assert estimate == pytest.approx(mean, rel=0.02)
