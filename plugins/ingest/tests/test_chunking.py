"""Cutting loses nothing but white space, and never takes long."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from spark_core_ingest.chunking import chunks

texts = st.text(st.sampled_from("ab .\n\r\t\u2003é🙂\0"), max_size=400) | st.text(max_size=400)
sizes = st.integers(2, 60)


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


@settings(deadline=None)
@given(texts, sizes)
def test_nothing_is_lost_but_white_space(text, size):
    """The pieces one after the other are the text."""
    assert bare("".join(chunks(text, size))) == bare(text)


@settings(deadline=None)
@given(texts, sizes)
def test_pieces_are_bounded_and_not_blank(text, size):
    """No piece is longer than the size, none is empty or has blanks around it."""
    for piece in chunks(text, size):
        assert 0 < len(piece) <= size
        assert piece == piece.strip()


@settings(deadline=None)
@given(texts, sizes)
def test_pieces_are_not_needlessly_many(text, size):
    """Each cut takes at least a quarter of a piece along."""
    assert len(list(chunks(text, size))) <= len(text) // max(1, size // 4) + 1


@settings(deadline=None)
@given(texts)
def test_a_short_text_is_one_piece(text):
    """As it is, but for blanks around it."""
    assert list(chunks(text, 400)) == ([text.strip()] if text.strip() else [])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["x", " ", "\n", ". ", "ab\n\n", "🙂"]), st.integers(200, 3000))
def test_the_number_of_steps_grows_with_the_length_alone(unit, size):
    """However a text is made, a text of twice the length takes twice the looks at it."""

    class Counted(str):
        looked = 0

        def rfind(self, *place):
            Counted.looked += place[2] - place[1]
            return super().rfind(*place)

    text = Counted(unit * (100_000 // len(unit)))
    assert bare("".join(chunks(text, size))) == bare(text)
    assert Counted.looked <= 5 * len(text)


def test_cuts_are_where_a_reader_pauses():
    """At a paragraph before a line, at a line before a sentence, at a sentence before a word."""
    rest = " and so on" * 100
    assert (
        next(chunks(f"one two\nthree four\n\nfive six. seven{rest}", 30)) == "one two\nthree four"
    )
    assert next(chunks(f"one two. three\nfour. five six{rest}", 22)) == "one two. three"
    assert next(chunks(f"one two three. four five six{rest}", 22)) == "one two three."
    assert next(chunks(f"one two three four five{rest}", 12)) == "one two"
