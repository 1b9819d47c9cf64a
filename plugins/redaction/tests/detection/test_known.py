"""Everybody who is known is found, by every way in which languages write a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.known.following import Known
from spark_core_redaction.detection.known.index import KnownIndex

from spark_core.contracts.detection import KnownEntity
from spark_core.errors import Unavailable
from spark_core.testing.detection import FakeKnownEntities

pytestmark = pytest.mark.anyio


def looking_for(*names: str, kind: str = "PERSON") -> KnownIndex:
    index = KnownIndex()
    index.add(KnownEntity(str(n), kind, (name,)) for n, name in enumerate(names))
    return index


def found(index: KnownIndex, text: str) -> list[tuple[str, str]]:
    return [(text[m.start : m.end], m.identity) for m in index.find(text)]


@pytest.mark.parametrize(
    ("known", "written"),
    [
        ("Ada Example", "Ada Example"),
        ("Ada Example", "ADA EXAMPLE"),
        ("Ada Example", "ada example"),
        ("Ada Example", "Example, Ada"),
        ("Example, Ada", "Ada Example"),
        ("Ada Example", "A. Example"),
        ("Ada Example", "Ada E."),
        ("Ada Example", "Example A."),
        ("Ada Example", "Ada K. Example"),
        ("Ada King Example", "Ada Example"),
        ("Dr. Ada Example", "Ada Example"),
        ("Ada Example", "Ada-Example"),
        ("Ada Example", "Ada\nExample"),
        ("Jürgen Müller", "Juergen Mueller"),
        ("Jürgen Müller", "JURGEN MULLER"),
        ("Juergen Mueller", "Jürgen Müller"),
        ("Søren Ødegård", "Soren Odegard"),
        ("Łukasz Wójcik", "Lukasz Wojcik"),
        ("Jana Nováková", "Janou Novákovou"),
        ("Pavel Novotný", "Pavlem Novotným"),
        ("Pavel Novotný", "Pavla Novotného"),
        ("Marek Dvořák", "Markovi Dvořákovi"),
        ("Anna Kowalska", "Anny Kowalskiej"),
        ("Jan Kowalski", "Janem Kowalskim"),
        ("Piotr Nowak", "Piotrowi Nowakowi"),
        ("Pekka Virtanen", "Pekka Virtaselle"),
        ("Pekka Virtanen", "Pekan Virtasen"),
        ("Liisa Mäkelä", "Liisalta Mäkelältä"),
        ("Nagy Ferenc", "Nagy Ferencnek"),
        ("Kovács Anna", "Kovács Annával"),
        ("Szabó János", "Szabó Jánossal"),
        ("Peter Schmidt", "Peter Schmidts"),
        ("Анна Петрова", "Анне Петровой"),
        ("Иван Смирнов", "Ивану Смирнову"),
        ("Иван Смирнов", "Ивана Смирнова"),
        ("Νίκος Παππάς", "Νίκου Παππά"),
        ("Jonas Kazlauskas", "Jono Kazlausko"),
        ("李小明", "李小明"),
        ("山田 太郎", "山田太郎"),
        ("김철수", "김철수"),
        ("أحمد علي", "أحمد علي"),
    ],
)
@pytest.mark.parametrize("sentence", ["{} wrote.", "We saw {}, later.", "so: {}", "({})"])
def test_a_name_is_found(known: str, written: str, sentence: str) -> None:
    """In any order, case and form, wherever it stands, all of it."""
    text = sentence.format(written)
    assert found(looking_for(known), text) == [(written, "entity:0")]


def test_names_in_scripts_without_spaces() -> None:
    """Nothing need stand between a name and what follows it."""
    index = looking_for("李小明", "김철수", "山田太郎")
    for text, name in [
        ("昨天李小明来了", "李小明"),
        ("김철수는 왔다", "김철수"),
        ("山田太郎さん", "山田太郎"),
    ]:
        assert [written for written, _ in found(index, text)] == [name]


def test_possessives_are_found_without_their_ending() -> None:
    """What follows an apostrophe is no part of the name."""
    assert found(looking_for("Ada Example"), "Ada Example's pump")[0][0] == "Ada Example"


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("May", "Maybe the Mayor may."),
        ("Ada Example", "Adamant examples of Canada."),
        ("Ann", "The annual plan of Hannover."),
        ("李明", "高明李"),
    ],
)
def test_names_within_words_are_none(known: str, text: str) -> None:
    """A name begins and ends where words do."""
    assert found(looking_for(known), text) == []


def test_parts_are_tied_to_whom_they_can_only_be() -> None:
    """A given name alone is its only bearer; with several it is whoever was named in full."""
    index = looking_for("Ada Example", "Ben Sample", "Ben Other")
    matches = index.find("Ada came. Ben did not. Mr Sample, though.")
    assert [(m.identity, m.part) for m in matches] == [
        ("entity:0", "given"),
        ("PERSON:ben", "given"),
        ("entity:1", "family"),
    ]
    matches = index.find("Ben Other called, and then Ben left.")
    assert [m.identity for m in matches] == ["entity:2", "entity:2"]


def test_people_of_one_name_are_not_taken_for_one_of_them() -> None:
    """Nobody can tell them apart by it: they are called by the name."""
    index = looking_for("Jan Novak", "Jan Novak")
    assert found(index, "Jan Novak")[0][1] == "PERSON:jan novak"


def test_firms_are_found_with_and_without_their_form() -> None:
    """ACME Pumps is ACME Pumps, s.r.o."""
    index = looking_for("ACME Pumps, s.r.o.", "The Bank of Samples", kind="ORGANIZATION")
    for written in ("ACME Pumps", "Acme Pumps s.r.o", "the bank of samples"):
        assert [w for w, _ in found(index, f"To {written} today")] == [written]


def test_numbers_and_addresses_are_found_however_they_are_divided() -> None:
    """Customer numbers, short extensions, telephones with and without their country."""
    index = KnownIndex()
    known = KnownEntity(
        "1",
        numbers=("K-10023",),
        phones=("+43 664 1234567", "4711"),
        addresses=("Dlouhá 12, 110 00 Praha",),
    )
    index.add([known])
    for written, identity in [
        ("k 10023", "NUMBER:k10023"),
        ("K10023", "NUMBER:k10023"),
        ("0664/123-45 67", "PHONE:+436641234567"),
        ("4711", "PHONE:4711"),
        ("Dlouha 12", "ADDRESS:dlouha 12"),
        ("Dlouhá 12, 110 00 Praha", "ADDRESS:dlouha 12"),
    ]:
        assert (written, identity) in found(index, f"see {written} there")


NAMES = st.text(
    st.characters(categories=["Lu", "Ll", "Lo"], max_codepoint=0x3000), min_size=2, max_size=9
)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5), st.data())
def test_every_known_name_is_found(names: list[tuple[str, str]], data: st.DataObject) -> None:
    """Recall is 1.0, whatever the letters."""
    index = looking_for(*(" ".join(name) for name in names))
    chosen = " ".join(data.draw(st.sampled_from(names)))
    text = f"1. {chosen} 2"
    covered = {n for m in index.find(text) for n in range(m.start, m.end)}
    assert {n for n in range(3, 3 + len(chosen)) if text[n].isalnum()} <= covered


async def test_a_change_is_live_at_once() -> None:
    """Also a removal and a merge: every text is read with what is known at that moment."""
    source = FakeKnownEntities([KnownEntity("1", names=("Ada Example",))])
    detection = Detection(known=[source])
    assert [f.identity for f in await detection.find("ada example, ben sample")] == ["entity:1"]
    source.put(KnownEntity("2", names=("Ben Sample",)))
    found_ = await detection.find("ada example, ben sample")
    assert [f.identity for f in found_] == ["entity:1", "entity:2"]
    source.remove("1")
    assert [f.identity for f in await detection.find("ada example, ben sample")] == ["entity:2"]


async def test_who_is_known_and_cannot_be_asked_keeps_texts_back() -> None:
    """Nothing is looked for in what was known before."""
    source = FakeKnownEntities([KnownEntity("1", names=("Ada Example",))])
    known = Known([source])
    await known.current()
    source.failure = Unavailable("the CRM is locked")
    with pytest.raises(Unavailable):
        await known.current()
