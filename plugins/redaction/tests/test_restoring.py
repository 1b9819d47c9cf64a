"""Restoring: whatever models make of placeholders, and wherever a stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_redaction.forms import Form
from spark_core_redaction.placeholders import LONGEST, PLACEHOLDER
from spark_core_redaction.restoring import Restorer

FORMS = {
    "PERSON_7": Form("Ada Example"),
    "PERSON_7_2": Form("ADA EXAMPLE"),
    "PERSON_7_GIVEN": Form("Ada"),
    "PERSON_70": Form("Ben Sample"),
    "NATIONAL_ID_1": Form("12 345"),
    "LITERAL_1": Form("[PERSON_7]"),
    "ODD_1": Form('say "no"\n', r"say \u0022no\u0022\n"),
}


def restored(text: str, **options: bool) -> str:
    return Restorer(FORMS, **options).restore(text)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[PERSON_7]", "Ada Example"),
        ("[person_7]", "Ada Example"),
        ("[Person_7]", "Ada Example"),
        ("PERSON_7", "Ada Example"),
        ("person_7", "Ada Example"),
        ("[PERSON_7]s", "Ada Examples"),
        ("[PERSON_7]'s", "Ada Example's"),
        ("[PERSON_7's]", "Ada Example's"),
        ("[PERSON_7s]", "Ada Examples"),
        ("PERSON_7s", "Ada Examples"),
        ("PERSON_7's", "Ada Example's"),
        ("PERSON_7_GIVENs", "Adas"),
        ("[PERSON 7]", "Ada Example"),
        ("[PERSON-7]", "Ada Example"),
        ("[PERSON7]", "Ada Example"),
        ("[ PERSON_7 ]", "Ada Example"),
        (r"\[PERSON_7\]", "Ada Example"),
        (r"[PERSON\_7]", "Ada Example"),
        (r"\[PERSON\_7\_GIVEN\]", "Ada"),
        (r"PERSON\_7", "Ada Example"),
        ("**PERSON_7**", "**Ada Example**"),
        ("_PERSON_7_", "_Ada Example_"),
        ("【PERSON_7】", "Ada Example"),
        ("［PERSON_7］", "Ada Example"),
        ("给PERSON_7发", "给Ada Example发"),
        ("%5BPERSON_7%5D", "Ada Example"),
        ("(PERSON_7)", "(Ada Example)"),
        ("<PERSON_7>", "<Ada Example>"),
        ("[PERSON_7_2]", "ADA EXAMPLE"),
        ("[PERSON_7_GIVEN] [PERSON_70]", "Ada Ben Sample"),
        ("PERSON_7,PERSON_70.", "Ada Example,Ben Sample."),
        ("[national id 1]", "12 345"),
        ("[[PERSON_7]]", "[Ada Example]"),
        ("[PERSON_7][PERSON_7_GIVEN]", "Ada ExampleAda"),
        ("[PERSON_7", "[Ada Example"),
        ("PERSON_7]", "Ada Example]"),
    ],
)
def test_what_models_make_of_placeholders_is_understood(written: str, said: str) -> None:
    assert restored(written) == said
    assert restored(f"So {written}, then.") == f"So {said}, then."


@pytest.mark.parametrize(
    "text",
    [
        "PERSON_71 is not PERSON_700", "MY_PERSON_7", "XPERSON_7", "person 7", "PERSON_7x",
        "PERSON_07", "[PERSON_7_9]", "[ANIMAL_7]", "a[7]", "PERSON_7_2_2", "[]", "[PERSON_]",
    ],
)  # fmt: skip
def test_what_stands_for_nothing_is_left(text: str) -> None:
    assert restored(text) == text


def test_what_stands_for_nothing_is_told_once_and_as_it_was_written() -> None:
    restorer = Restorer(FORMS)
    restorer.restore("[PERSON_8] and person_9, and again [PERSON_8]; [PERSON_7]")
    assert restorer.unknown == ["[PERSON_8]", "person_9"]


def test_a_value_that_looks_like_a_placeholder_is_not_restored_again() -> None:
    assert restored("[LITERAL_1]") == "[PERSON_7]"


def test_in_json_values_are_written_as_its_strings_hold_them() -> None:
    """And where one stood otherwise in JSON, just so."""
    assert restored("[ODD_1]") == 'say "no"\n'
    assert restored('{"a": "[ODD_1]"}', json=True) == r'{"a": "say \u0022no\u0022\n"}'
    odd = Restorer({"PERSON_1": Form('A "Q"\tB')}, json=True)
    assert odd.restore("[PERSON_1]") == r"A \"Q\"\tB"


# ------------------------------------------------------------------------------------ streams

PIECES = st.sampled_from(
    [
        "[PERSON_7]", "PERSON_7", "[person_7_given]", r"\[PERSON\_7\]", "【PERSON_70】", "[", "]",
        "%5BPERSON_7%5D", "\\", "%", "%5", "_", "7", "s", "'s", " ", "PERSON", "PER", "[PERSON_",
        "[ NATIONAL ID 1 ]", "NATIONAL_", "ID_1", "[FOO_BAR_1]", "[LITERAL_1]", "x", "é", "给",
        "\n", "[PERSON_7", "_GIVEN", "_2", "[PERSON_7_GIVEN_2]", "national\\_id\\_1", "-",
        "PERSON_7_",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)


def streamed(pieces: list[str]) -> tuple[str, list[str]]:
    restorer = Restorer(FORMS)
    return "".join([*map(restorer.feed, pieces), restorer.finish()]), restorer.unknown


@given(TEXTS)
def test_a_stream_says_what_the_whole_says_wherever_it_is_cut(text: str) -> None:
    """At every position in two, and into single characters."""
    oracle = Restorer(FORMS)
    whole = oracle.restore(text), oracle.unknown
    assert streamed(list(text)) == whole
    for cut in range(len(text) + 1):
        assert streamed([text[:cut], text[cut:]]) == whole


@given(TEXTS, st.data())
def test_a_stream_in_many_pieces_says_what_the_whole_says(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    oracle = Restorer(FORMS)
    assert streamed(pieces) == (oracle.restore(text), oracle.unknown)


@pytest.mark.parametrize("text", ["Hello, world. ", "[1] see below ", "names[0] = x; ", "a\\b "])
def test_only_what_may_be_a_placeholders_begin_is_held_back(text: str) -> None:
    assert Restorer(FORMS).feed(text) == text


def test_no_placeholder_is_longer_than_is_held_back() -> None:
    """A stream is looked at from there on only."""
    kind, part = "A" * 24, "B" * 24
    longest = rf"\[ {kind}\_{kind}\_{kind}\_999999999\_{part}\_999999999's  \]"
    assert len(longest) < LONGEST
    assert not PLACEHOLDER.search("[" + "A" * LONGEST + "_1]")


def test_another_restorer_begins_anew() -> None:
    restorer = Restorer(FORMS)
    restorer.feed("[PERSON_")
    other = restorer.another()
    assert other.feed("7] ") == "7] "
    assert restorer.feed("7] ") == "Ada Example "


def test_after_its_end_another_text_may_be_fed() -> None:
    restorer = Restorer(FORMS)
    assert restorer.feed("x") + restorer.finish() == "x"
    assert restorer.feed("PERSON_7") + restorer.finish() == "Ada Example"
