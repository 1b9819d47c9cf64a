"""What people write, in the one form in which it can be compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_ingest.entities import values


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("1815-12-10", "18151210"),
        ("10.12.1815", "18151210"),
        ("10/12/1815", "18151210"),
        ("12/31/1815", "18151231"),
        ("10 Dec 1815", "18151210"),
        ("December 10, 1815", "18151210"),
        ("1815-12-10 00:00:00", "18151210"),
        ("1815-12-10T00:00:00Z", "18151210"),
        ("18151210", "18151210"),
        (18151210, "18151210"),
        ("1900-01-01", ""),
        ("31.02.1999", ""),
        ("soon", ""),
        (None, ""),
    ],
)
def test_a_birth_date_is_a_day_however_it_is_written(written, day):
    """What is no day says nothing."""
    assert values.birth_date(written) == day


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("Ada Lovelace", (["ada"], ["lovelace"])),
        ("Lovelace, Ada", (["ada"], ["lovelace"])),
        ("Dr. Ada King Lovelace", (["ada", "king"], ["lovelace"])),
        ("Vincent van Gogh", (["vincent"], ["van", "gogh"])),
        ("John Smith, Jr.", (["john"], ["smith"])),
        ("Novák, Jan ml.", (["jan"], ["novak"])),
        ("Ing. Jan Novák, Ph.D.", (["jan"], ["novak"])),
        ("MUDr. Jan Novák, CSc.", (["jan"], ["novak"])),
        ("Anne-Marie Müller-Huber", (["annemarie"], ["mullerhuber"])),
        ("Zoë O'Hara", (["zoe"], ["ohara"])),
        ("Лев Толстой", (["lev"], ["tolstoy"])),
        ("ada", ([], ["ada"])),
        ("n/a", ([], [])),
        ("ada@example.org", ([], [])),
        (None, ([], [])),
    ],
)
def test_a_name_has_given_names_and_a_family_name(written, parts):
    """In any script; titles are no part of it."""
    assert values.split_name(written) == parts


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("Ada <Ada@Example.org>", "ada@example.org"),
        ("ada+crm@example.org", "ada@example.org"),
        ("mailto:ada@example.org", "ada@example.org"),
        ("ada at example.org", ""),
        ("ada@localhost", ""),
        ("-", ""),
    ],
)
def test_an_address_is_what_mail_is_sent_to(written, address):
    """Without what is written around it."""
    assert values.email(written) == address


def test_an_office_has_addresses_too():
    """They are nobody's own."""
    assert values.is_role("info@example.org")
    assert values.is_role("no-reply@example.org")
    assert not values.is_role("ada@example.org")


def test_a_number_knows_its_country():
    """Also where it is written with zeros, or where a setting says it."""
    assert values.phone("+43 (664) 123-4567") == "+436641234567"
    assert values.phone("0043 664 1234567") == "+436641234567"
    assert values.phone("0664 1234567", "AT") == "+436641234567"
    assert values.phone("0664 1234567") == "6641234567"
    assert values.phone("+43 1 58858 ext. 12") == "+43158858x12"
    assert values.phone("123") == ""


def test_a_firm_is_written_with_and_without_its_form():
    """The same firm."""
    names = ("ACME Pumps, s.r.o.", "Acme Pumps", "acme pumps GmbH", "The ACME Pumps Co.")
    assert {values.organization(name) for name in names} == {"acme pumps"}
    assert values.organization("AG") == "ag"


def test_a_number_is_compared_without_punctuation():
    """Zeros alone say nothing."""
    assert values.identifier("ATU 123-456") == "ATU123456"
    assert values.identifier("000-000") == ""
    assert values.postcode(4011.0) == "4011"


@given(st.text() | st.integers() | st.floats() | st.none())
def test_whatever_stands_in_a_column_is_read(written):
    """Nothing raises."""
    for read in (
        values.name_words,
        values.split_name,
        values.email,
        values.phone,
        values.birth_date,
        values.postcode,
        values.organization,
        values.identifier,
    ):
        read(written)
    assert all(0 <= number < 2**16 for number in values.trigrams(values.address_parts(written)))
