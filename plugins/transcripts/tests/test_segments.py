"""How segments are attributed, and where they are split."""

from __future__ import annotations

import pytest
from spark_core_transcripts.labelling import label
from spark_core_transcripts.models import Segment, Turn, Word

from .made import segments, speakers, texts, turns, words

NUMBERS = ("one", "two", "three", "four", "five", "six")

#: Six words, one a second.
SIX = words(*((word, n, n + 0.9) for n, word in enumerate(NUMBERS)))


def split(*spoken: tuple[str, float, float], text: str = "") -> list[tuple[str | None, str]]:
    """How the six words are split, with a text of one segment and these turns."""
    given = segments((text or "one two three four five six", 0, 6))
    return texts(label(SIX, given, turns(*spoken)))


def test_a_segment_is_split_where_the_speaker_changes() -> None:
    """Each part has its words with the punctuation of the text, and its own times."""
    given = segments(("One, two, three. Four, five, six!", 0, 6))
    transcript = label(SIX, given, turns(("A", 0, 3), ("B", 3, 6)))
    assert texts(transcript) == [("A", "One, two, three."), ("B", "Four, five, six!")]
    assert [(s.start, s.end) for s in transcript.segments] == [(0, 2.9), (3, 5.9)]
    assert [word.segment for word in transcript.words] == [0, 0, 0, 1, 1, 1]


def test_a_side_of_one_word_is_not_split_off() -> None:
    """A border that is a little early takes the last word along; the word keeps its speaker."""
    given = segments(("one two three four five six", 0, 6))
    transcript = label(SIX, given, turns(("A", 0, 4.8), ("B", 4.8, 20)))
    assert texts(transcript) == [("A", "one two three four five six")]
    assert speakers(transcript) == ["A"] * 5 + ["B"]


def test_a_side_of_one_long_word_is_not_split_off() -> None:
    """However long it lasts."""
    said = words(("a", 0, 0.5), ("b", 2, 2.5), ("extraordinarily", 3.0, 4.5))
    given = segments(("a b extraordinarily", 0, 5))
    assert len(label(said, given, turns(("A", 0, 3), ("B", 3, 30))).segments) == 1


@pytest.mark.parametrize(("end", "parts"), [(0.4, 1), (0.6, 2)])
def test_a_side_of_less_than_a_second_is_not_split_off(end: float, parts: int) -> None:
    """Though it has two words."""
    said = words(("a", 2, 2.5), ("b", 3, 3.5), ("c", 4, 4.4), ("d", 4.5, 4.5 + end))
    given = segments(("a b c d", 2, 5.1))
    assert len(label(said, given, turns(("A", 0, 4), ("B", 4, 30))).segments) == parts


@pytest.mark.parametrize(("length", "parts"), [(5.0, 2), (9.0, 1), (90.0, 1)])
def test_a_side_of_less_than_a_fifth_is_not_split_off(length: float, parts: int) -> None:
    """Of the segment's length, or of ten seconds if it is longer."""
    count = int(length / 0.5)
    said = words(*(("a", n / 2, n / 2 + 0.4) for n in range(count)))
    said += words(("b", length, length + 0.6), ("b", length + 0.7, length + 1.3))
    given = segments((" ".join(word.word for word in said), 0, length + 1.3))
    spoken = turns(("A", 0, length), ("B", length, length + 30))
    assert len(label(said, given, spoken).segments) == parts


def test_two_seconds_are_split_off_however_long_the_segment_is() -> None:
    """A fifth of an hour would be absurd."""
    long = [("a", n, n + 0.9) for n in range(600)]
    said = words(*long, *(("b", n, n + 0.9) for n in (600, 601, 602)))
    given = segments((" ".join(word.word for word in said), 0, 603))
    assert len(label(said, given, turns(("A", 0, 600), ("B", 600, 999))).segments) == 2


@pytest.mark.parametrize("last", [("B", 5, 6), ("B", 4.8, 6.2)])
def test_a_reply_with_a_turn_of_its_own_is_split_off(last: tuple[str, float, float]) -> None:
    """Though it is one word."""
    parts = split(("A", 0, 4.8), last)
    assert parts == [("A", "one two three four five"), ("B", "six")]


def test_a_reply_does_not_take_its_neighbours_along() -> None:
    """Before and after it is somebody else, however short that is."""
    said = words(("that?", 9.3, 9.9), ("yes", 10.0, 10.4), ("then", 11, 11.3))
    given = segments(("that? yes then", 9, 12))
    spoken = turns(("A", 0, 10), ("B", 10, 10.5), ("A", 10.9, 14))
    assert texts(label(said, given, spoken)) == [("A", "that?"), ("B", "yes"), ("A", "then")]


def test_a_whole_sentence_is_split_off() -> None:
    """Where the text has a border, too, it is no accident that the turns have one."""
    parts = split(("A", 0, 4.8), ("B", 4.8, 60), text="One two three four five? Six.")
    assert parts == [("A", "One two three four five?"), ("B", "Six.")]


def test_the_end_of_a_sentence_is_not_split_off() -> None:
    """It begins within the sentence, so the turns' border is what is wrong."""
    assert len(split(("A", 0, 4.8), ("B", 4.8, 60), text="One two three four five six.")) == 1


def test_parts_of_one_speaker_are_not_split_from_each_other() -> None:
    """A word of somebody else between them splits nothing."""
    assert len(split(("A", 0, 2.6), ("B", 2.6, 3.4), ("A", 3.4, 6), ("B", 1, 1.1))) == 1


def test_a_segment_that_is_not_split_keeps_its_text() -> None:
    """Also where its words are others."""
    given = segments(("Eins, zwei, drei.", 0, 6))
    assert texts(label(SIX, given, turns(("A", 0, 6)))) == [("A", "Eins, zwei, drei.")]


def test_a_segment_without_words_keeps_its_place() -> None:
    """Beside segments that have words."""
    given = segments(("one two three", 0, 3), ("Hm.", 3, 3.4), ("four five six", 3.5, 6))
    transcript = label(SIX[:3] + SIX[3:], given, turns(("A", 0, 6)))
    assert [s.text for s in transcript.segments] == ["one two three", "Hm.", "four five six"]
    assert [word.segment for word in transcript.words] == [0, 0, 0, 2, 2, 2]


def test_words_within_segments_are_used() -> None:
    """Where there are none beside them."""
    given = [Segment(text="one two three", start=0, end=3, words=SIX[:3])]
    assert speakers(label([], given, turns(("A", 0, 6)))) == ["A"] * 3


def test_words_whose_texts_are_not_the_segments_go_by_time() -> None:
    """None is lost."""
    given = segments(("eins zwei drei", 0, 3), ("vier fünf sechs", 3, 6))
    transcript = label(SIX, given, turns(("A", 0, 6)))
    assert [word.segment for word in transcript.words] == [0, 0, 0, 1, 1, 1]


def test_words_alone_are_cut_at_sentences_and_pauses() -> None:
    """As a recogniser would."""
    said = words(("Yes.", 0, 0.5), ("And", 0.6, 0.8), ("then", 0.9, 1.2), ("we", 2.2, 2.4))
    assert [s.text for s in label(said, [], turns(("A", 0, 3))).segments] == [
        "Yes.",
        "And then",
        "we",
    ]


def test_spaces_are_those_of_the_recogniser() -> None:
    """Some give them with the words, some write without."""
    spaced = [Word(word=" so", start=0, end=1), Word(word=" far", start=1, end=2)]
    assert label(spaced, [], turns(("A", 0, 3))).text == "so far"
    chinese = words(("你", 0, 0.5), ("好", 0.5, 1.5), ("再", 4, 4.5), ("见", 4.5, 5.5))
    given = segments(("你好。再见。", 0, 6))
    parts = texts(label(chinese, given, turns(("A", 0, 2), ("B", 4, 6))))
    assert parts == [("A", "你好。"), ("B", "再见。")]


# ---------------------------------------------------------------------------- segments alone


def test_a_segment_alone_goes_to_the_largest_overlap() -> None:
    """As a whole, with its text and times as they were."""
    transcript = label([], segments(("so far so good", 0, 3)), turns(("A", 0, 2), ("B", 2, 3)))
    assert texts(transcript) == [("A", "so far so good")]
    assert (transcript.segments[0].start, transcript.segments[0].end) == (0, 3)
    assert transcript.words == []


def test_a_segment_alone_is_split_between_sentences() -> None:
    """By the share of the speech that each sentence has."""
    given = segments(("So far, so good today. What is next, then?", 0, 5))
    parts = texts(label([], given, turns(("A", 0, 2), ("B", 3, 5))))
    assert parts == [("A", "So far, so good today."), ("B", "What is next, then?")]


def test_a_segment_alone_is_not_split_within_a_sentence() -> None:
    """Nobody knows where."""
    given = segments(("So far so good today what is next then?", 0, 5))
    assert len(label([], given, turns(("A", 0, 2), ("B", 3, 5))).segments) == 1


def test_a_short_sentence_of_a_segment_alone_is_not_split_off() -> None:
    """Its place is a guess, so it needs a second or a turn of its own."""
    given = segments(("So far, so good today, my dear old friend. Yes.", 0, 5))
    assert len(label([], given, turns(("A", 0, 4.5), ("B", 4.5, 60))).segments) == 1
    assert len(label([], given, turns(("A", 0, 4.5), ("B", 4.5, 5))).segments) == 2


@pytest.mark.parametrize("spoken", [[], turns(("A", 90, 95))])
def test_a_segment_of_nobody_keeps_its_text(spoken: list[Turn]) -> None:
    """Without turns, or far from them."""
    given = segments(("So far. So good.", 0, 5), ("Yes.", None, None))
    assert texts(label([], given, spoken)) == [(None, "So far. So good."), (None, "Yes.")]
