"""BM25's vectors: what they count, and in which languages."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from spark_core_qdrant.sparse import encode_document, encode_query, lengths

from spark_core.contracts.vectors import CollectionSpec, Mode, Point, Query
from spark_core.errors import SettingsError
from spark_core.testing.vectors import point_id

from .processes import SPEC, emptied_store

pytestmark = pytest.mark.anyio

K, B = 1.2, 0.75


@pytest.mark.parametrize("times", [1, 2, 3, 10, 299, 300, 1_000, 50_000])
def test_a_repeated_word_is_counted_exactly(times: int) -> None:
    """In a query and in a length, however often it is said."""
    assert encode_query("gear " * times, "english")[1] == [times]
    assert lengths(["gear " * times + "bearing"], "english") == [times + 1]


def test_counts_of_many_words_are_exact() -> None:
    """Each word's own count, whatever the others'."""
    chance = random.Random(5)
    counts = {f"word{number}": chance.randint(1, 300) for number in range(50)}
    words = [word for word, count in counts.items() for _ in range(count)]
    chance.shuffle(words)
    _, weights = encode_query(" ".join(words), "neutral")
    assert sorted(weights) == sorted(counts.values())
    assert lengths([" ".join(words)], "neutral") == [sum(counts.values())]


@pytest.mark.parametrize(
    "language", ["english", "german", "french", "spanish", "russian", "neutral"]
)
@pytest.mark.parametrize("text", ["", "the gear and the gears", "Die Häuser der Stadt", "?! 1 2 2"])
def test_lengths_and_documents_agree(language: str, text: str) -> None:
    """A document's weights are BM25's for the very length that the store tells."""
    (length,) = lengths([text], language)
    average = 3.0
    counts = dict(zip(*encode_query(text, language), strict=True))
    weights = dict(zip(*encode_document(text, language, average), strict=True))
    assert sum(counts.values()) == length
    expected = {
        token: tf * (K + 1) / (tf + K * (1 - B + B * length / average))
        for token, tf in counts.items()
    }
    assert weights == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("language", "one", "other", "stop_word"),
    [
        ("english", "gear", "gears", "the"),
        ("german", "Haus", "Hauses", "der"),
        ("french", "maison", "maisons", "les"),
        ("spanish", "casa", "casas", "los"),
        ("italian", "gatto", "gatti", "gli"),
        ("dutch", "boek", "boeken", "het"),
        ("russian", "книга", "книги", "что"),
    ],
)
def test_a_language_has_its_stems_and_stop_words(
    language: str, one: str, other: str, stop_word: str
) -> None:
    """Forms of a word are one token; words that say nothing are none."""
    assert encode_query(one, language) == encode_query(other, language)
    assert encode_query(stop_word, language) == ([], [])


def test_neutral_leaves_words_as_they_are() -> None:
    """But for capitals: no stems, no stop words."""
    assert encode_query("gear", "neutral") != encode_query("gears", "neutral")
    assert encode_query("Gear", "neutral") == encode_query("gear", "neutral")
    assert lengths(["the gear"], "neutral") == [2]


@pytest.mark.parametrize("language", ["", "klingon", "English", "polish", "none", "../english"])
async def test_an_unknown_language_is_a_wrong_setting(
    shared_directory: Path, language: str
) -> None:
    """Found when a collection is made, before anything is stored."""
    async with emptied_store(shared_directory, language) as store:
        with pytest.raises(SettingsError, match=r"\[plugins\.qdrant\] language"):
            await store.create("things", SPEC)
        with pytest.raises(SettingsError):
            store.lengths(["gear"])
        assert await store.collections() == []


async def test_a_collection_keeps_the_language_it_was_made_with(shared_directory: Path) -> None:
    """The setting is for new ones: weights of two languages would not fit together."""
    async with (
        emptied_store(shared_directory, "german") as german,
        emptied_store(shared_directory, "english") as english,
    ):
        await german.create("things", SPEC)
        things = english.collection("things")
        await things.upsert([Point(point_id("house"), [1, 0, 0], "die Häuser")])
        assert await things.search(Query(mode=Mode.SPARSE, text="Haus"))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("東京 都庁", "東京"),
        ("会議は東京、大阪で。", "会議は東京"),
        ("서울 사무소", "서울"),
        ("اجتماع في بغداد", "بغداد"),
        ("ישיבה בחיפה", "ישיבה"),
        ("Cafe\u0301 Müller", "müller"),
        ("naïve 🙂 café", "CAFÉ"),
        ("C++ and C#", "c"),
        ("call +49 30 1234567", "1234567"),
        ("mail anna@example.org", "example"),
    ],
)
async def test_words_of_any_script_are_found(shared_directory: Path, text: str, query: str) -> None:
    """Words are what spaces and punctuation part: see the README on Chinese and Japanese."""
    spec = CollectionSpec(dimension=1, embedder="by hand", average_length=3.0)
    async with emptied_store(shared_directory) as store:
        await store.create("things", spec)
        points = [
            Point(point_id("it"), [1.0], text),
            Point(point_id("other"), [1.0], "invoice for paper"),
        ]
        await store.collection("things").upsert(points)
        (hit,) = await store.collection("things").search(Query(mode=Mode.SPARSE, text=query))
        assert hit.text == text
