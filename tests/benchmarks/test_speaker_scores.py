"""The scores of transcripts, by hand and beside MeetEval's; and what the benchmark shows."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .speaker_scores import Said, cpwer, edit_distance, wder

WORDS = st.lists(st.sampled_from("abc"), max_size=8)


def said(text: str) -> Said:
    """``A a b, B c`` as words with speakers."""
    parts = [part.split() for part in text.split(",")]
    return [(part[0], word) for part in parts for word in part[1:]]


@given(WORDS, WORDS)
def test_the_edit_distance_is_that_of_the_textbook(one: list[str], other: list[str]) -> None:
    """Row by row."""
    row = list(range(len(other) + 1))
    for number, word in enumerate(one, 1):
        above, row = row, [number]
        for position, candidate in enumerate(other):
            replaced = above[position] + (word != candidate)
            row.append(min(replaced, above[position + 1] + 1, row[-1] + 1))
    assert edit_distance(one, other) == row[-1]


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        ("X a b, Y c d", 0.0),
        ("Y a b, X c d", 0.0),
        ("X a b c d", 1.0),  # two inserted with X, two deleted with Y
        ("X a b c, Y d", 0.5),
        ("X a x, Y c d", 0.25),
        ("X a b, Y c d, Z e", 0.25),
    ],
)
def test_cpwer_by_hand(hypothesis: str, expected: float) -> None:
    """Of four words by two."""
    assert cpwer(said("A a b, B c d"), said(hypothesis)) == expected


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        ("X a b, Y c d", 0.0),
        ("X a b c, Y d", 0.25),
        ("X a x, Y c d", 0.0),  # a substituted word has the right speaker
        ("X a, Y c d", 0.0),  # a deleted one does not count
        ("X a b c d", 0.5),
    ],
)
def test_wder_by_hand(hypothesis: str, expected: float) -> None:
    """Of four words by two."""
    assert wder(said("A a b, B c d"), said(hypothesis)) == expected


def test_a_word_of_nobody_is_wrong() -> None:
    """Nobody is not a speaker who could be paired."""
    assert wder(said("A a b"), [(None, "a"), (None, "b")]) == 1.0


@pytest.mark.slow  # MeetEval is compiled where it is installed, which needs a compiler
def test_cpwer_is_meetevals() -> None:
    """On a hundred random pairs of transcripts of up to four speakers."""
    meeteval = pytest.importorskip("meeteval", reason="meeteval is not installed")
    chance = random.Random(1)

    def made() -> Said:
        length = chance.randint(1, 40)
        return [(chance.choice("ABCD"), chance.choice("abcde")) for _ in range(length)]

    def streams(transcript: Said) -> dict[str, str]:
        joined: dict[str, list[str]] = defaultdict(list)
        for speaker, word in transcript:
            joined[str(speaker)].append(word)
        return {speaker: " ".join(words) for speaker, words in joined.items()}

    for _ in range(100):
        one, other = made(), made()
        theirs = meeteval.wer.cp_word_error_rate(streams(one), streams(other))
        assert cpwer(one, other) == pytest.approx(theirs.error_rate)


COMPARED = """
from dataclasses import replace
from transcripts import PLAIN, measure, measure_bleed, measure_chunks

scores = measure(replace(PLAIN, seconds=120.0), range(2))
for what in ("words", "segments"):
    ours, theirs = scores["ours", what], scores["WhisperX, fill_nearest", what]
    assert all(2 * one <= other for one, other in zip(ours[:2], theirs)), (ours, theirs)
for row in measure_bleed(0.5, range(2)):
    if "ours" in row[0]:
        assert [float(share) > least for share, least in zip(row[1:], (85, 98, 90))] == [True] * 3
assert float(measure_chunks(7, 0.5, [0])[1]) == 7
"""


def test_the_benchmark_shows_what_the_documentation_says() -> None:
    """Half the errors of the other rule, bleed gone and words kept, seven of seven people."""
    here = Path(__file__).parent
    environ = {**os.environ, "PYTHONPATH": str(here)}
    done = subprocess.run(
        [sys.executable, "-c", COMPARED], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
