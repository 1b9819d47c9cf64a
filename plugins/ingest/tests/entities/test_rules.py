"""Which records are one, which may be, and which are not: a rule each, among a few people."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio

ADA = {"name": "Ada Lovelace", "email": "ada@example.org"}


async def test_the_same_mail_address_and_a_mistyped_name_are_one_person(town):
    """And the reasons say so in words."""
    town.people(ADA, ADA | {"name": "Ada Lovelac"})
    report = await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]
    assert (report.records, report.entities, report.merged, report.certain) == (2, 1, 2, 1)
    (line,) = await town.lines()
    assert line.reasons == [
        "person:1 and person:2: same e-mail ada@example.org; "
        "name differs in one letter: Ada Lovelace, Ada Lovelac"
    ]
    assert line.score > 0.95


async def test_the_same_mail_address_is_enough_where_one_has_no_name(town):
    """It is personal."""
    town.people(ADA, {"email": "Ada@Example.org"})
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]


async def test_a_name_alone_is_a_suggestion(town):
    """The same name may be that of different people."""
    town.people({"name": "Jan Novak"}, {"name": "Jan Novak"})
    await town.resolve()
    assert await town.together() == []
    assert await town.suggested() == {
        ("person:1", "person:2"): "a name alone does not tell people of one name apart"
    }


async def test_people_of_one_name_are_told_apart_by_what_is_theirs(town):
    """Other addresses, other numbers, other birthdays."""
    town.people(
        {"name": "Jan Novak", "email": "jan@a.example", "phone": "+420601000001"},
        {"name": "Jan Novak", "email": "novak@b.example", "phone": "+420602000002"},
        {"name": "Jan Novak", "birth_date": "1950-01-01"},
        {"name": "Jan Novak", "birth_date": "1981-02-03"},
    )
    await town.resolve()
    assert await town.together() == []


async def test_an_address_that_people_share_is_no_evidence(town):
    """Forty people behind one address, whatever it is called."""
    given = ("Ada", "Ben", "Cyd", "Dan", "Eve")
    family = ("Fox", "Gray", "Hill", "Ives", "Jones", "Klein", "Long", "Moss")
    names = [f"{first} {last}" for first in given for last in family]
    assert len(names) == 40
    town.people(*({"name": name, "email": "desk@example.org"} for name in names))
    await town.resolve()
    assert await town.together() == []
    assert await town.suggested() == {}


@pytest.mark.parametrize("others", [0, 400])
async def test_a_person_may_be_there_many_times(town, others):
    """More often than records are compared each with each."""
    strangers = [{"name": f"Grace Hopper{n}", "email": f"g{n}@example.org"} for n in range(others)]
    town.people(*strangers, *[ADA] * 90)
    await town.resolve()
    (together,) = await town.together()
    assert len(together) == 90


async def test_numbered_people_are_different_people(town):
    """Addresses and short numbers that are counted up are not mistyped."""
    town.people(
        *({"name": f"User {n}", "email": f"user{n}@example.org"} for n in range(12)),
        *({"name": "Jan Novak", "ids": f"C-{1000 + n}"} for n in range(5)),
    )
    await town.resolve()
    assert await town.together() == []


async def test_an_office_address_is_no_evidence_even_for_two(town):
    """info@ is nobody's own."""
    office = {"email": "info@example.org"}
    town.people(office | {"name": "Ada Lovelace"}, office | {"name": "A. Lovelac"}, office)
    await town.resolve()
    assert await town.together() == []


async def test_two_people_with_one_mailbox_are_two(town):
    """What they share is suggested, no more."""
    town.people(ADA, ADA | {"name": "Grace Hopper"})
    await town.resolve()
    assert await town.together() == []


async def test_a_couple_is_two_people(town):
    """One family name, one address, one number."""
    home = {"address": "12 Elm Street, Brno", "postcode": "60200", "phone": "+420601000001"}
    town.people(home | {"name": "Ada Byron"}, home | {"name": "William Byron"})
    await town.resolve()
    assert await town.together() == []


async def test_father_and_son_of_one_name_are_two(town):
    """Their birth dates differ, whatever else agrees."""
    home = {"name": "John Smith", "address": "12 Elm Street, Leeds", "postcode": "LS1 4AP"}
    town.people(home | {"birth_date": "1950-01-01"}, home | {"birth_date": "1981-12-24"})
    await town.resolve()
    assert await town.together() == []
    assert await town.suggested() == {("person:1", "person:2"): "their birth dates differ"}


@pytest.mark.parametrize("other", ["10.12.1815", "10/12/1815", "10 Dec 1815", "1815-12-11"])
async def test_name_and_birth_date_are_one_person(town, other):
    """In whatever form the date is written, or with one digit wrong."""
    town.people(
        {"name": "Ada Lovelace", "birth_date": "1815-12-10"},
        {"name": "Ada Lovelace", "birth_date": other},
    )
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]


@pytest.mark.parametrize("other", ["0664 123 45 67", "0043-664-1234567", "(0664) 1234567"])
async def test_a_number_is_the_same_with_and_without_its_country(town, other):
    """Where only one of the two says it."""
    town.people(
        {"name": "Ada Lovelace", "phone": "+43 664 1234567"},
        {"name": "Lovelace, Ada", "phone": other},
    )
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]


async def test_numbers_of_different_countries_are_different(town):
    """Though their last digits agree."""
    town.people(
        {"name": "Ada Lovelace", "phone": "+43 664 1234567"},
        {"name": "Ada Lovelace", "phone": "+49 664 1234567"},
    )
    await town.resolve()
    assert await town.together() == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("Лев Толстой", "Lev Tolstoy"), ("Zoë Müller", "Zoe Muller"), ("王小明", "王小明")],
)
async def test_names_in_any_script_are_compared(town, one, other):
    """With something else that agrees they are one."""
    town.people(
        {"name": one, "birth_date": "1928-09-09"}, {"name": other, "birth_date": "1928-09-09"}
    )
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]


async def test_empty_records_are_nobody(town):
    """However many there are, and whatever is written for nothing."""
    town.people({}, {}, {"name": "", "email": " "}, {"name": "N/A", "phone": "-"}, {"name": None})
    report = await town.resolve()
    assert (report.records, report.entities, report.certain) == (5, 5, 0)
    assert await town.suggested() == {}


async def test_a_number_of_a_register_is_one_person(town):
    """And another number in it is another person."""
    town.people(
        {"name": "Ada Lovelace", "ids": "ATU 1234-567"},
        {"name": "A. Lovelace", "ids": "atu1234567"},
        {"name": "Ada Lovelace", "ids": "ATU 9999-111", "email": "ada@example.org"},
    )
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]


async def test_kinds_with_different_columns_are_compared(town):
    """A whole name with a given and a family name, in either order."""
    town.people(ADA)
    town.table(
        "lead",
        [{"id": 1, "given_name": "Lovelace", "family_name": "Ada", "email": "ada@example.org"}],
        given_name="given_name",
        family_name="family_name",
        email="email",
    )
    await town.resolve()
    assert await town.together() == [["lead:1", "person:1"]]


async def test_a_firm_is_no_person(town):
    """Who works for it is not the firm; the firm itself may be in two tables."""
    town.people(ADA | {"organization": "Engines Ltd"})
    town.table("firm", [{"id": 1, "name": "Engines Limited"}], organization="name")
    town.table("client", [{"id": 1, "name": "engines"}], organization="name")
    await town.resolve()
    assert await town.together() == [["client:1", "firm:1"]]


async def test_one_name_at_one_firm_is_one_person(town):
    """Unless something of their own differs."""
    at = {"organization": "Engines Ltd"}
    town.people(
        at | {"name": "Ada Lovelace", "email": "ada@example.org"},
        at | {"name": "Ada Lovelace"},
        at | {"name": "Jan Novak", "email": "jan@a.example"},
        at | {"name": "Jan Novak", "email": "novak@b.example"},
    )
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]


async def test_a_chain_does_not_join_what_contradicts_itself(town):
    """A is B and B is C, but A and C were born in different years."""
    town.people(
        ADA | {"birth_date": "1815-12-10"},
        ADA | {"phone": "+43 664 1234567"},
        {"name": "Ada Lovelace", "phone": "+43 664 1234567", "birth_date": "1950-07-01"},
    )
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]
    suggested = await town.suggested()
    assert suggested["person:2", "person:3"] == "birth dates differ: 1815-12-10, 1950-07-01"


async def test_two_people_behind_one_nameless_address_are_two(town):
    """The record without a name goes to one of them, and does not join them."""
    town.people(ADA, {"email": "ada@example.org"}, ADA | {"name": "Grace Hopper"})
    await town.resolve()
    (together,) = await town.together()
    assert len(together) == 2
    assert not {"person:1", "person:3"} <= set(together)


async def test_a_mapping_that_names_no_column_recognises_nobody(town):
    """A warning says so, and nothing fails."""
    town.people(ADA)
    town.match["person"] = {"name": []}
    report = await town.resolve()
    assert report.records == 0
    assert "match table" in report.warnings[0]


async def test_the_mapping_may_change_between_runs(town):
    """What is no longer recognised by anything comes apart; nothing is left behind."""
    town.people(ADA, {"name": "Ada Lovelace", "email": "ada@example.org"})
    await town.resolve()
    before = await town.ids()
    town.match["person"] = {"name": "name"}
    await town.resolve()
    assert await town.together() == []
    after = await town.ids()
    assert after["person:1"] == before["person:1"]
    town.match["client"] = town.match.pop("person")
    town.table("client", [{"id": 1, **ADA}])
    await town.resolve()
    assert set(await town.ids()) == {"client:1"}


async def test_names_may_lie_in_several_columns(town):
    """The first whole name counts; where none is whole, all of them together."""
    columns = {"name": ["given_name", "family_name"], "email": "email"}
    people = [("Ada", "Lovelace"), ("Ada", "Byron"), ("Ada Lovelace", "Countess"), (None, "Byron")]
    rows = [{"given_name": given, "family_name": family} for given, family in people]
    town.table("person", [{"id": n, **row} for n, row in enumerate(rows)], **columns)
    await town.resolve()
    explained = await town.suggested()
    assert ("person:0", "person:2") in explained
    assert ("person:0", "person:1") not in explained
