"""Everybody who is known is found, by every way in which languages write a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.known import tables
from spark_core_redaction.detection.known.following import Known
from spark_core_redaction.detection.known.index import KnownIndex
from spark_core_redaction.detection.known.knowledge import Knowledge, Told, indexed
from spark_core_redaction.detection.known.tables import Table
from spark_core_redaction.detection.letters import fold

from spark_core.contracts.detection import KnownEntity
from spark_core.errors import Unavailable
from spark_core.testing.detection import FakeKnownEntities

pytestmark = pytest.mark.anyio


def looking_for(*names: str, kind: str = "PERSON") -> KnownIndex:
    return indexed(KnownEntity(str(n), kind, (name,)) for n, name in enumerate(names))


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
    known = KnownEntity(
        "1",
        numbers=("K-10023",),
        phones=("+43 664 1234567", "4711"),
        addresses=("Dlouhá 12, 110 00 Praha",),
    )
    index = indexed([known])
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


async def test_only_what_changed_is_read_again() -> None:
    """Not where a source cannot tell: then all is read, and compared."""
    source = FakeKnownEntities([KnownEntity("1", names=("Ada Example",))])
    known = Known([source])
    await known.current()
    source.put(KnownEntity("1", names=("Ada Renamed",)))
    assert found(await known.current(), "Ada Renamed") == [("Ada Renamed", "entity:1")]
    assert source.readings == 1


async def test_readers_keep_the_index_that_they_were_given() -> None:
    """A text is read with what was known when its reading began, never with some of a change."""
    source = FakeKnownEntities([KnownEntity("1", names=("Ada Example",))])
    known = Known([source])
    before = await known.current()
    source.put(KnownEntity("1", names=("Cy Other",)))
    after = await known.current()
    assert [found(index, "Ada Example, Cy Other") for index in (before, after)] == [
        [("Ada Example", "entity:1")],
        [("Cy Other", "entity:1")],
    ]


class Held(FakeKnownEntities):
    """Is read when it is let go."""

    def __init__(self, known: list[KnownEntity]) -> None:
        super().__init__(known)
        self.reached, self.let_go = asyncio.Event(), asyncio.Event()

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        self.reached.set()
        await self.let_go.wait()
        async for entities in super().entities(batch=batch):
            yield entities


async def test_texts_wait_for_a_reading_that_goes_on_when_its_first_gives_up() -> None:
    """All is read once for all who wait; nothing is looked for in nothing."""
    source = Held([KnownEntity("1", names=("Ada Example",))])
    known = Known([source])
    first = asyncio.create_task(known.current())
    await source.reached.wait()
    others = [asyncio.create_task(known.current()) for _ in range(3)]
    first.cancel()
    source.let_go.set()
    for index in await asyncio.gather(*others):
        assert found(index, "Ada Example") == [("Ada Example", "entity:1")]
    assert source.readings == 1


async def test_what_fails_amid_a_change_is_read_anew() -> None:
    """What may be known by halves is thrown away."""

    class Failing(FakeKnownEntities):
        async def entities(
            self, *, batch: int = 5000
        ) -> AsyncGenerator[Sequence[KnownEntity], None]:
            yield [KnownEntity("2", names=("Ben Sample",))]
            if self.readings == 0:
                self.readings = 1
                raise Unavailable("gone")
            async for entities in super().entities(batch=batch):
                yield entities

    known = Known([Failing([KnownEntity("1", names=("Ada Example",))])])
    with pytest.raises(Unavailable):
        await known.current()
    index = await known.current()
    assert len(found(index, "Ada Example; Ben Sample")) == 2


async def test_who_closes_does_not_wait_for_a_reading() -> None:
    """It is left off."""
    source = Held([])
    known = Known([source])
    waiting = asyncio.create_task(known.current())
    await source.reached.wait()
    await known.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


FEW = (
    "Ada Example",
    "Ada Example Ltd",
    "Ann Abel",
    "Anna Bel",
    "Dr. Ben Ada",
    "李小明",
    "Müller Ada",
)
PEOPLE = st.builds(
    KnownEntity,
    id=st.sampled_from("ab"),
    kind=st.sampled_from(["PERSON", "ORGANIZATION"]),
    names=st.lists(st.sampled_from(FEW), max_size=2).map(tuple),
    phones=st.lists(st.sampled_from(["+43 664 1234567", "0664 1234567"]), max_size=1).map(tuple),
    addresses=st.lists(st.sampled_from(["Hof 1, Wien", "Hof 1, Graz"]), max_size=1).map(tuple),
    numbers=st.lists(st.sampled_from(["K-1234", "0664 1234567"]), max_size=1).map(tuple),
)
CHANGES = st.lists(
    st.dictionaries(st.sampled_from("12345"), st.lists(PEOPLE, max_size=2), min_size=1), max_size=6
)
TEXT = "; ".join(
    (*FEW, "annabel", "adaexample", "0664 1234567", "K1234", "Hof 1, Graz", "Ada", "A. Bel")
)


@given(CHANGES)
def test_changes_lead_to_what_is_found_where_nothing_else_was_ever_known(
    changes: list[dict[str, list[KnownEntity]]],
) -> None:
    """Whatever was known before, and however much of it records share."""
    knowledge, records = Knowledge(), dict[str, list[KnownEntity]]()
    told = Told(knowledge)
    for change in changes:
        told.put(change)
        records |= change
        changed, fresh = knowledge.index(), indexed(e for all_ in records.values() for e in all_)
        assert _all_found(changed) == _all_found(fresh)


def _all_found(index: KnownIndex) -> tuple[set[int], list[bool]]:
    """Which letters are of something known: of what, only whoever came first may decide."""
    squeezed = ["annabel", "adaexample", "müllerada", "hof1", "exampleada"]
    letters = {place for match in index.find(TEXT) for place in range(match.start, match.end)}
    return letters, [index.knows(fold(word)) for word in squeezed]


@pytest.mark.parametrize("last", [0, 119])
def test_a_name_of_many_is_known_as_long_as_one_bears_it(last: int) -> None:
    """Also where it is of too many to be counted."""
    told = Told(knowledge := Knowledge())
    told.put({str(n): [KnownEntity(str(n), names=("Jan Novak",))] for n in range(120)})
    told.put({str(n): [] for n in range(120) if n != last})
    assert [w for w, _ in found(knowledge.index(), "Jan Novak")] == ["Jan Novak"]


@given(
    st.lists(st.dictionaries(st.integers(0, 60), st.none() | st.integers()), max_size=8),
    st.integers(0, 20),
)
def test_tables_are_what_was_written_into_them(
    changes: list[dict[int, int | None]], over: int
) -> None:
    """Whether changes are laid over or taken in; those there were before stay as they were."""
    table, expected, before = Table[int, int](), dict[int, int | None](), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "LAID_OVER", over)
        for change in changes:
            before.append((table, dict(expected)))
            table = table.changed(dict(change))
            expected |= change
    for each, values in [*before, (table, expected)]:
        assert [each.get(key) for key in range(60)] == [values.get(key) for key in range(60)]
