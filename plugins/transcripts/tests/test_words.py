"""Which speaker a word goes to."""

from __future__ import annotations

import pytest
from spark_core_transcripts.labelling import label

from .made import segments, speakers, turns, words


def test_item_18_a_word_goes_to_the_largest_overlap() -> None:
    """Not to the turn that it starts in."""
    said = words(("hello", 0.8, 2.0))
    assert speakers(label(said, [], turns(("A", 0, 1.3), ("B", 1.3, 5)))) == ["B"]


def test_overlaps_of_one_speaker_are_summed() -> None:
    """Two short turns of one beat a longer one of another."""
    said = words(("wonderful", 0, 1.0))
    spoken = turns(("A", 0, 0.3), ("B", 0.3, 0.7), ("A", 0.7, 1.0))
    assert speakers(label(said, [], spoken)) == ["A"]


def test_a_turn_that_is_given_twice_counts_once() -> None:
    """Turns of one speaker that overlap are one."""
    said = words(("wonderful", 0, 1.0))
    spoken = turns(("A", 0, 0.4), ("A", 0, 0.4), ("B", 0.4, 1.0))
    assert speakers(label(said, [], spoken)) == ["B"]


def test_the_nearest_turn_is_the_one_with_the_smallest_gap() -> None:
    """Not the one whose middle is nearest: 0.4 s from A, 0.5 s from B."""
    said = words(("so", 10.4, 10.5))
    assert speakers(label(said, [], turns(("A", 0, 10), ("B", 11, 11.5)))) == ["A"]


def test_a_long_turn_that_began_early_can_be_the_nearest() -> None:
    """The turn that started last before the word is not the one that ended last."""
    said = words(("so", 10.2, 10.4))
    assert speakers(label(said, [], turns(("A", 0, 10), ("B", 1, 2), ("C", 12, 13)))) == ["A"]


def test_a_word_that_is_far_from_all_turns_is_of_nobody() -> None:
    """Farther than the tolerance."""
    said, spoken = words(("so", 5.0, 5.2)), turns(("A", 0, 4))
    assert speakers(label(said, [], spoken, tolerance=0.9)) == [None]
    assert speakers(label(said, [], spoken, tolerance=1.0)) == ["A"]


@pytest.mark.parametrize("names", [("A", "B"), ("B", "A")])
def test_a_tie_goes_to_the_speaker_of_the_word_before(names: tuple[str, str]) -> None:
    """Whatever the speakers are called."""
    one, other = names
    said = words(("we", 0.2, 0.6), ("know", 1.2, 1.5))
    spoken = turns((one, 0, 0.8), (other, 0.9, 5), (one, 1, 5))
    assert speakers(label(said, [], spoken)) == [one, one]


def test_a_tie_without_a_word_before_goes_to_the_earlier_turn() -> None:
    """Of two that start together, to the first name."""
    said = words(("we", 1.0, 1.2))
    assert speakers(label(said, [], turns(("B", 0.5, 5), ("A", 0.6, 5)))) == ["B"]
    assert speakers(label(said, [], turns(("B", 0.5, 5), ("A", 0.5, 5)))) == ["A"]


def test_a_reply_within_a_longer_turn_is_not_swallowed() -> None:
    """A turn of its own, and a sentence of its own."""
    said = words(("ready?", 0.5, 0.9), ("Yes.", 1.0, 1.3), ("Then", 1.35, 1.6))
    spoken = turns(("A", 0, 9), ("B", 0.95, 1.35))
    assert speakers(label(said, [], spoken)) == ["A", "B", "A"]


def test_words_that_run_on_are_no_reply() -> None:
    """Somebody is heard beside a speaker who goes on: the words are the speaker's."""
    said = words(("we", 0.5, 0.9), ("have", 1.0, 1.3), ("to", 1.35, 1.6))
    spoken = turns(("A", 0, 9), ("B", 0.95, 1.35))
    assert speakers(label(said, [], spoken)) == ["A", "A", "A"]


def test_words_without_turns_are_of_nobody() -> None:
    """And the answer says why."""
    transcript = label(words(("we", 0, 1)), [], [])
    assert (speakers(transcript), transcript.speakers) == ([None], [])
    assert transcript.notes == ["no turns were given, so no speaker is known"]


def test_turns_without_words_say_nothing() -> None:
    """There is nothing to label."""
    transcript = label([], [], turns(("A", 0, 1)))
    assert (transcript.words, transcript.segments, transcript.text) == ([], [], "")


def test_a_turn_of_no_length_is_passed_over() -> None:
    """Nothing can be said in it."""
    assert speakers(label(words(("we", 0, 1)), [], turns(("A", 0.5, 0.5)))) == [None]


# --------------------------------------------------------------------------- words without times


def times(word: object) -> tuple[float | None, float | None]:
    return word.start, word.end  # type: ignore[attr-defined]


def test_a_word_without_times_lies_between_its_neighbours() -> None:
    """It gets their speaker, and says that it was placed."""
    said = words(("in", 0, 0.2), ("2014.", None, None), ("Then", 1.0, 1.2))
    transcript = label(said, [], turns(("A", 0, 1.5)))
    assert speakers(transcript) == ["A", "A", "A"]
    assert times(transcript.words[1]) == (0.2, 1.0)
    assert [word.placed for word in transcript.words] == [False, True, False]


def test_words_without_times_share_the_room_by_their_length() -> None:
    """A number counts for more than it has letters, as it is spelt out."""
    said = words(("in", 0, 0.2), ("the", None, None), ("2014", None, None), ("we", 1.2, 1.5))
    placed = label(said, [], turns(("A", 0, 2))).words
    assert placed[1].end == placed[2].start
    assert placed[1].end is not None
    assert 0.2 < placed[1].end < 0.7


def test_a_word_without_times_is_said_where_somebody_speaks() -> None:
    """Not in the silence before the next speaker begins."""
    said = words(("so.", 0, 0.5), ("7", None, None), ("people", 9.0, 9.4))
    transcript = label(said, [], turns(("A", 0, 0.5), ("B", 8.4, 12)))
    assert speakers(transcript) == ["A", "B", "B"]


def test_a_word_without_times_stays_within_its_segment() -> None:
    """The silence before the segment is not its place."""
    said = words(("so.", 0, 0.5), ("7", None, None), ("people", 9.0, 9.4))
    given = segments(("so.", 0, 0.5), ("7 people", 8.5, 9.4))
    transcript = label(said, given, turns(("A", 0, 2), ("B", 8.4, 12)))
    assert times(transcript.words[1]) == (8.5, 9.0)


def test_a_word_at_the_edge_lies_at_its_only_neighbour() -> None:
    """The first and the last."""
    said = words(("In", None, None), ("the", 1, 1.2), ("end.", None, None))
    transcript = label(said, [], turns(("A", 0, 2)))
    assert [times(word) for word in transcript.words] == [(1, 1), (1, 1.2), (1.2, 1.2)]
    assert speakers(transcript) == ["A", "A", "A"]


def test_words_that_nothing_gives_a_time_are_kept() -> None:
    """They are of nobody."""
    transcript = label(words(("In", None, None)), [], turns(("A", 0, 2)))
    assert (speakers(transcript), times(transcript.words[0])) == ([None], (None, None))


def test_a_word_of_no_length_gets_the_speaker_at_its_time() -> None:
    """As one in the middle of a turn."""
    assert speakers(label(words(("so", 3, 3)), [], turns(("A", 0, 2), ("B", 2, 4)))) == ["B"]


def test_a_word_of_no_length_that_is_out_of_place_is_placed() -> None:
    """Some recognisers give 0 to what they cannot align."""
    said = words(("in", 4, 4.2), ("2014", 0, 0), ("we", 5, 5.2))
    transcript = label(said, [], turns(("B", 0, 1), ("A", 4, 6)))
    assert speakers(transcript) == ["A", "A", "A"]


def test_a_word_that_ends_before_it_starts_is_placed() -> None:
    """One wrong word does not spoil a transcript."""
    said = words(("in", 4, 4.2), ("so", 5, 3), ("we", 5, 5.2))
    assert times(label(said, [], turns(("A", 4, 6))).words[1]) == (4.2, 5.0)


def test_a_word_is_not_stretched_over_a_silence() -> None:
    """Its end is cut, so it does not go to whoever speaks next."""
    said = words(("okay", 5.0, 8.8))
    transcript = label(said, [], turns(("A", 3, 5.6), ("B", 7, 12)))
    assert speakers(transcript) == ["A"]
    assert times(transcript.words[0]) == (5.0, 6.2)


def test_a_long_word_is_left_as_it_is_where_nobody_is_silent() -> None:
    """Somebody draws it out; or nothing is known of silence."""
    for spoken in (turns(("A", 0, 9)), []):
        assert times(label(words(("so", 2, 5)), [], spoken).words[0]) == (2, 5)


def test_a_word_is_not_stretched_over_the_silence_before_it() -> None:
    """Where nobody speaks at its start it begins with the next turn."""
    transcript = label(words(("okay", 5.0, 8.8)), [], turns(("A", 3, 4.9), ("B", 8.3, 12)))
    assert speakers(transcript) == ["B"]
    assert times(transcript.words[0]) == (8.3, 8.8)
