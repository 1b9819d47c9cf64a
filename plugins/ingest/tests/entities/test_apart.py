"""People who share much and are two: what they share is a suggestion, and no more."""

from __future__ import annotations

import random

import pytest

pytestmark = pytest.mark.anyio

PHONE = {"phone": "+4315550100"}
HOME = {"address": "Lipova 3, Brno", "postcode": "60200"}
FIRM = {"organization": "ACME Pumps"}
MAIL = {"email": "home@example.org"}


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("Peter Novak", "Peter Svoboda", PHONE),
        ("Peter Novak", "Peter Svoboda", PHONE | HOME | FIRM),
        ("Martin Huber", "Martina Gruber", PHONE | FIRM),
        ("Anna Huber", "Anna Gruber", FIRM),
        ("A. Huber", "Anna Huber", FIRM),
        ("Jan Novák", "Jana Nováková", MAIL),
        ("Pavel Novák", "Pavla Nováková", PHONE | HOME),
        ("Mario Rossi", "Maria Rossi", MAIL | PHONE),
        ("Andreas Huber", "Andrea Huber", PHONE | HOME),
        ("John Smith Sr.", "John Smith Jr.", MAIL | PHONE | HOME),
        ("John Smith", "Smith, John, Jr.", PHONE | HOME),
        ("Jan Novák st.", "Jan Novák ml.", PHONE | HOME),
        ("Anna Huber", "Berta Huber", PHONE | HOME | {"birth_date": "2001-02-03"}),
    ],
)
async def test_people_who_share_much_are_two(town, one, other, shared):
    """Colleagues, couples, fathers and sons, twins: it is suggested, for a person to decide."""
    town.people(shared | {"name": one}, shared | {"name": other})
    await town.resolve()
    assert await town.together() == []
    assert list(await town.suggested()) == [("person:1", "person:2")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"address": "Wien", "postcode": "1010"}, {"address": "Wien", "postcode": "1010"}),
        (
            {"address": "Hauptstraße 5, Wien", "postcode": "1010"},
            {"address": "Hauptplatz 77, Wien", "postcode": "1010"},
        ),
        ({"phone": "0664 12345678"}, {"phone": "0676 12345678"}),
        ({"phone": "123456789"}, {"phone": "123456789"}),
        ({"phone": "999 999 999"}, {"phone": "999999999"}),
        ({"email": "noemail@noemail.com"}, {"email": "noemail@noemail.com"}),
    ],
    ids=["town", "street", "numbers without a country", "counted", "nines", "none"],
)
async def test_people_of_one_name_are_two_although_something_looks_the_same(town, one, other):
    """A town is no address, and what is typed to fill a field is nobody's."""
    town.people({"name": "Thomas Müller"} | one, {"name": "Thomas Müller"} | other)
    await town.resolve()
    assert await town.together() == []


async def test_one_name_in_one_house_is_one_person(town):
    """However the street is written."""
    town.people(
        {"name": "Thomas Müller", "address": "Hauptstraße 5, Wien", "postcode": "1010"},
        {"name": "Thomas Muller", "address": "Hauptstr. 5, 1010 Wien", "postcode": "1010"},
    )
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]


async def test_an_initial_does_not_lead_from_one_to_the_other(town):
    """It may be either; the weaker link is left as a suggestion, and says why."""
    town.people(*(PHONE | {"name": name} for name in ("Alice Smith", "A. Smith", "Adam Smith")))
    await town.resolve()
    assert await town.together() == [["person:1", "person:2"]]
    suggested = await town.suggested()
    assert suggested["person:2", "person:3"] == "given names differ: Alice, Adam"


async def test_forty_people_of_one_office_are_forty(town):
    """Behind one address, at one firm, with names that are alike."""
    given = ("Anna", "Bert", "Carl", "Dora", "Emil", "Franz", "Gerda", "Hans")
    family = ("Huber", "Gruber", "Mayr", "Wagner", "Bauer")
    names = [f"{first} {last}" for first in given for last in family]
    town.people(*(FIRM | {"name": name, "email": "office@example.org"} for name in names))
    await town.resolve()
    assert await town.together() == []


async def test_couples_are_two_however_many_records_are_there_twice(town):
    """Names that are mistyped here and there do not make one person of a woman and her husband."""
    letters = random.Random(1)
    people, husbands = [], set()
    for n in range(150):
        family = "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=9))
        home = {"address": f"{n + 1} {family[::-1]} Street", "postcode": f"{10000 + 37 * n}"}
        ada = home | {"name": f"Ada {family}", "birth_date": f"{1910 + n % 80}-03-04"}
        people += [ada, ada if n % 12 else ada | {"name": f"Xerxes {family}"}]
        if n % 9 == 0:
            husband = home | {"name": f"William {family}", "birth_date": f"{1999 - n % 80}-11-30"}
            people.append(husband)
            husbands.add(f"person:{len(people)}")
    town.people(*people)
    await town.resolve()
    together = await town.together()
    assert len(together) == 137
    assert not husbands & {name for names in together for name in names}
