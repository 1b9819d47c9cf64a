"""Long recordings: windows, and who is who across them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_transcripts.chunks import Chunk, join, plan
from spark_core_transcripts.voices import Voice, cluster

from spark_core.errors import InvalidRequest

# ----------------------------------------------------------------------------------------- windows


@given(st.floats(0, 5_000), st.floats(10, 600), st.floats(0, 0.9))
def test_windows_cover_the_recording(duration: float, window: float, share: float) -> None:
    """None is too long, and each overlaps the next as it should."""
    overlap = window * share
    windows = plan(duration, window=window, overlap=overlap)
    assert windows[0].start == 0
    assert windows[-1].end == pytest.approx(duration)
    assert all(w.end - w.start <= window + 1e-6 for w in windows)
    for one, other in pairwise(windows):
        assert one.end - other.start == pytest.approx(overlap, abs=1e-6)


def test_windows_are_equally_long() -> None:
    """The last one is no short rest."""
    windows = plan(130, window=60, overlap=10)
    assert [(w.start, w.end) for w in windows] == [(0, 50), (40, 90), (80, 130)]


@pytest.mark.parametrize(
    ("duration", "overlap"), [(-1.0, 10.0), (math.nan, 10.0), (math.inf, 10.0), (90.0, 60.0)]
)
def test_windows_that_cannot_be_are_refused(duration: float, overlap: float) -> None:
    """They would never end."""
    with pytest.raises(InvalidRequest):
        plan(duration, window=60, overlap=overlap)


# ---------------------------------------------------------------------------------------- matching


def chunk(
    offset: float, *spoken: tuple[str, float, float], **voices: Sequence[float | None] | None
) -> Chunk:
    """A chunk of 60 s."""
    given: dict[str, Any] = {
        "offset": offset,
        "duration": 60,
        "segments": [{"speaker": name, "start": a, "end": b} for name, a, b in spoken],
        "speakers": {name: {"embedding": vector} for name, vector in voices.items()},
    }
    return Chunk.model_validate(given)


def turns_of(chunks: Sequence[Chunk]) -> list[tuple[str, float, float]]:
    return [(turn.speaker, turn.start, turn.end) for turn in join(chunks).turns]


ADA, BEN = (1.0, 0.1, 0.0), (0.0, 1.0, 0.1)


def test_a_voice_is_one_speaker_in_all_chunks() -> None:
    """Whatever each chunk calls it."""
    first = chunk(0, ("x", 0, 10), ("y", 10, 20), x=ADA, y=BEN)
    second = chunk(60, ("y", 0, 10), ("x", 10, 20), y=ADA, x=BEN)
    assert turns_of([second, first]) == [
        ("SPEAKER_00", 0, 10),
        ("SPEAKER_01", 10, 20),
        ("SPEAKER_00", 60, 70),
        ("SPEAKER_01", 70, 80),
    ]


def test_two_speakers_of_a_chunk_are_never_one() -> None:
    """However alike they sound: the diarizer has heard both."""
    alike = chunk(0, ("x", 0, 10), ("y", 10, 20), x=ADA, y=ADA)
    assert join([alike, chunk(60, ("z", 0, 10), z=ADA)]).speakers == 2


def test_where_chunks_overlap_each_counts_up_to_the_middle() -> None:
    """A turn across the border is one turn."""
    first, second = chunk(0, ("x", 40, 60), x=ADA), chunk(50, ("y", 0, 20), y=ADA)
    assert turns_of([first, second]) == [("SPEAKER_00", 40, 70)]
    first, second = chunk(0, ("x", 40, 60), x=ADA), chunk(50, ("y", 0, 20), y=BEN)
    assert turns_of([first, second]) == [("SPEAKER_00", 40, 55), ("SPEAKER_01", 55, 70)]


UNUSABLE: list[Sequence[float | None] | None] = [
    None,
    (),
    (0.0, 0.0, 0.0),
    (math.nan, 1.0, 0.0),
    (None, 1.0, 0.0),
    (math.inf, 1.0, 0.0),
]


@pytest.mark.parametrize("vector", UNUSABLE, ids=str)
def test_a_speaker_without_a_voiceprint_stays_alone(
    vector: Sequence[float | None] | None,
) -> None:
    """And the answer says who it is."""
    matched = join([chunk(0, ("x", 0, 10), x=ADA), chunk(60, ("x", 0, 10), x=vector)])
    assert (matched.speakers, matched.unmatched) == (2, ["SPEAKER_01"])


def test_one_chunk_needs_no_voiceprints() -> None:
    """There is nothing to match."""
    assert join([chunk(0, ("x", 0, 10), ("y", 10, 20))]).unmatched == []


def test_voiceprints_of_different_lengths_are_refused() -> None:
    """They come from different models."""
    with pytest.raises(InvalidRequest, match="different lengths"):
        join([chunk(0, ("x", 0, 10), x=ADA), chunk(60, ("x", 0, 10), x=(1.0, 0.0))])


def test_tiny_voiceprints_have_a_direction() -> None:
    """Their squares would be nothing."""
    first, second = (1e-200, 0.0, 0.0), (1e200, 0.0, 0.0)
    assert join([chunk(0, ("x", 0, 9), x=first), chunk(60, ("y", 0, 9), y=second)]).speakers == 1


# ------------------------------------------------------------------------------ many, from a seed


def voices(chance: random.Random, people: int, chunks: int, noise: float) -> list[Voice]:
    """Of *people* heard in *chunks*, four of them in each; the key begins with the person."""
    means = [_unit([chance.gauss(0, 1) for _ in range(48)]) for _ in range(people)]
    return [
        Voice((who, number), number, _near(chance, means[who], noise), 10.0)
        for number in range(chunks)
        for who in chance.sample(range(people), 4)
    ]


def _near(chance: random.Random, mean: Sequence[float], noise: float) -> list[float]:
    return _unit([x + chance.gauss(0, noise / math.sqrt(len(mean))) for x in mean])


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [x / length for x in vector]


@pytest.mark.parametrize("seed", range(5))
def test_seven_people_are_not_squeezed_into_four(seed: int) -> None:
    """Though a chunk can hold no more than four."""
    groups = cluster(voices(random.Random(seed), 7, 30, noise=0.6))
    people = [{voice.key[0] for voice in group} for group in groups]  # type: ignore[index]
    assert sorted(people, key=min) == [{who} for who in range(7)]


def test_many_voices_are_grouped_block_by_block() -> None:
    """The answer is that of all at once."""
    groups = cluster(voices(random.Random(1), 6, 150, noise=0.5))
    assert len(groups) == 6
    assert sum(map(len, groups)) == 600


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([ADA, BEN])), max_size=12))
def test_groups_hold_every_voice_once(given: list[tuple[int, tuple[float, ...]]]) -> None:
    """And never two of one chunk."""
    heard = [Voice(n, number, _unit(vector), 1.0) for n, (number, vector) in enumerate(given)]
    groups = cluster(heard)
    assert sorted(voice.key for group in groups for voice in group) == list(range(len(heard)))  # type: ignore[type-var]
    for group in groups:
        assert len({voice.chunk for voice in group}) == len(group)
