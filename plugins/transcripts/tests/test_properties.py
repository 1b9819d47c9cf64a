"""What holds for every transcript, however odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from spark_core_transcripts.labelling import label
from spark_core_transcripts.models import LabelledTranscript, Segment, Turn, Word

from .made import segments, turns, words

TEXTS = st.sampled_from(["yes", "Yes.", "no?", "the", "2014", "harbour", "well,", "so", "I"])

#: Milliseconds, as recognisers give them; close to each other, so that they often meet.
TIMES = st.integers(0, 12_000).map(lambda time: time / 1000)


@dataclass(frozen=True)
class Given:
    """What is labelled."""

    words: Sequence[Word]
    segments: Sequence[Segment]
    turns: Sequence[Turn]

    def labelled(self) -> LabelledTranscript:
        return label(self.words, self.segments, self.turns)

    def later(self, by: float) -> Given:
        """Everything *by* seconds later."""

        def moved(items: Sequence[Word | Segment | Turn]) -> list[dict[str, object]]:
            return [
                {
                    **item.model_dump(),
                    "start": None if item.start is None else round(item.start + by, 3),
                    "end": None if item.end is None else round(item.end + by, 3),
                }
                for item in items
            ]

        return Given(
            [Word.model_validate(word) for word in moved(self.words)],
            [Segment.model_validate(segment) for segment in moved(self.segments)],
            [Turn.model_validate(turn) for turn in moved(self.turns)],
        )


Timed = tuple[str, float | None, float | None]


@st.composite
def timed(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> Timed:
    """A text; often with sensible times, sometimes with odd ones or none."""
    start = draw(TIMES)
    kinds = ["short", "short", "short", "none", "point", "any", "start only"]
    end: dict[str, float | None] = {
        "short": round(start + draw(st.integers(1, 1500)) / 1000, 3),
        "none": None,
        "point": start,
        "any": draw(TIMES),
        "start only": None,
    }
    kind = draw(st.sampled_from(kinds))
    return draw(texts), None if kind == "none" else start, end[kind]


@st.composite
def given_things(draw: st.DrawFn, sound: bool = False) -> Given:
    """Words and segments, in order or not, whose texts agree or not; and turns.

    *sound*: the words do not overlap, and the segments' texts are theirs.
    """
    said = draw(st.lists(timed(TEXTS), max_size=12))
    if sound:
        said = _one_after_the_other(said)
    elif draw(st.booleans()):
        said.sort(key=lambda word: -1 if word[1] is None else word[1])
    spoken = [
        (draw(st.sampled_from("ABC")), min(one, other), max(one, other))
        for one, other in draw(st.lists(st.tuples(TIMES, TIMES), max_size=8))
    ]
    kind = draw(st.sampled_from(["none", "of the words", *([] if sound else ["others"])]))
    return Given(words(*said), _segments(draw, kind, [word for word, *_ in said]), turns(*spoken))


def _one_after_the_other(said: list[Timed]) -> list[Timed]:
    """Each word begins when the one before it has ended, or later."""
    reached, ordered = 0.0, list[Timed]()
    for word, start, end in said:
        if start is not None and end is not None and start < end:
            length = end - start
            start = max(start, reached)
            end = reached = round(start + length, 3)
            ordered.append((word, start, end))
        else:
            ordered.append((word, None, None))
    return ordered


def _segments(draw: st.DrawFn, kind: str, said: list[str]) -> list[Segment]:
    if kind == "none":
        return []
    if kind == "others":
        joined = st.lists(TEXTS, max_size=6).map(" ".join)
        return segments(*draw(st.lists(timed(joined), max_size=4)))
    cuts = sorted({0, len(said), *draw(st.lists(st.integers(0, len(said)), max_size=3))})
    parts = [" ".join(said[one:other]) for one, other in pairwise(cuts)]
    return segments(*(draw(timed(st.just(part))) for part in parts))


def again(transcript: LabelledTranscript) -> tuple[Sequence[Word], Sequence[Segment]]:
    """What was answered, to be labelled once more."""
    return (
        [Word.model_validate(word.model_dump()) for word in transcript.words],
        [Segment.model_validate(segment.model_dump()) for segment in transcript.segments],
    )


@given(given_things())
def test_no_word_is_lost_added_or_moved(it: Given) -> None:
    """Words are as they were, and in their order; so are their segments."""
    transcript = it.labelled()
    assert [word.word for word in transcript.words] == [word.word for word in it.words]
    numbers = [word.segment for word in transcript.words]
    assert numbers == sorted(numbers)
    assert all(0 <= number < len(transcript.segments) for number in numbers)


@given(given_things())
def test_no_text_is_lost_added_or_moved(it: Given) -> None:
    """Of segments without words; however they are split."""
    transcript = label([], it.segments, it.turns)
    before = " ".join(segment.text for segment in it.segments)
    assert transcript.text.split() == before.split()


@given(given_things())
def test_speakers_are_those_of_the_turns_or_nobody(it: Given) -> None:
    """Of words and of segments."""
    transcript = it.labelled()
    known = {turn.speaker for turn in it.turns}
    named = {each.speaker for each in (*transcript.words, *transcript.segments)} - {None}
    assert named <= known
    assert set(transcript.speakers) == named


@given(given_things())
def test_times_run_forwards(it: Given) -> None:
    """Of each word and segment; one has both ends or none."""
    transcript = it.labelled()
    for each in (*transcript.words, *transcript.segments):
        assert (each.start is None) == (each.end is None)
        if each.start is not None and each.end is not None:
            assert 0 <= each.start <= each.end


@given(given_things(sound=True))
def test_labelling_again_changes_nothing(it: Given) -> None:
    """What is answered can be given again, if texts and times are sound."""
    once = it.labelled()
    said, parts = again(once)
    twice = label(said, parts, it.turns)
    assert [(w.speaker, w.start, w.end, w.segment) for w in twice.words] == [
        (w.speaker, w.start, w.end, w.segment) for w in once.words
    ]
    assert twice.segments == once.segments


@given(given_things(), st.integers(0, 10_000_000).map(lambda time: time / 1000))
@example(Given([], [], []), 0.1)
def test_a_later_recording_is_labelled_alike(it: Given, by: float) -> None:
    """Only differences of times count."""
    now, later = it.labelled(), it.later(by).labelled()
    assert [word.speaker for word in later.words] == [word.speaker for word in now.words]
    assert [(s.speaker, s.text) for s in later.segments] == [
        (s.speaker, s.text) for s in now.segments
    ]
