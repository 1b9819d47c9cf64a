"""Two channels: one known speaker here, a diarized side there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from spark_core_transcripts.models import LabelledTranscript, Segment, Word
from spark_core_transcripts.operation import LabelRequest, LocalChannel, label_transcript

from .made import segments, speakers, texts, turns, words

pytestmark = pytest.mark.anyio


def spoken(text: str, start: float, *, every: float = 0.4) -> list[Word]:
    """The words of *text*, one after the other."""
    times = ((word, start + n * every) for n, word in enumerate(text.split()))
    return words(*((word, time, time + 0.3) for word, time in times))


REMOTE = spoken("the harbour is closed in strong wind today", 0.0)
TURNS = turns(("R", 0, 4), ("S", 6, 9))


async def both(
    local: Sequence[Word], remote: Sequence[Word] = REMOTE, **more: object
) -> LabelledTranscript:
    """Both channels, labelled; *more* is of the local one."""
    channel = LocalChannel.model_validate({"speaker": "me", "words": list(local), **more})
    return await label_transcript(LabelRequest(words=list(remote), turns=TURNS, local=channel))


async def test_both_channels_are_one_transcript_in_time() -> None:
    """The local speaker is known, the remote ones come from the turns."""
    late = spoken("We will see.", 6.5)
    transcript = await both(spoken("Really?", 4.5), [*REMOTE, *late])
    assert texts(transcript) == [
        ("R", "the harbour is closed in strong wind today"),
        ("me", "Really?"),
        ("S", "We will see."),
    ]
    assert [w.segment for w in transcript.words] == [0] * 8 + [1] + [2] * 3
    assert {w.channel for w in transcript.words if w.speaker == "me"} == {"local"}


async def test_what_the_loudspeaker_says_is_left_out() -> None:
    """The same words, a little later."""
    heard = spoken("the harbour is closed in strong wind today", 0.12)
    transcript = await both([*heard, *spoken("Really?", 4.5)])
    assert speakers(transcript) == ["R"] * 8 + ["me"]
    assert (transcript.bleed_removed, transcript.dual_mono) == (8, False)


@pytest.mark.parametrize("word", ["no", "never"])
async def test_e3_a_local_word_under_remote_speech_stays(word: str) -> None:
    """It has another text; around it is bleed."""
    heard = spoken(f"the harbour is {word} in strong wind today", 0.12)
    transcript = await both(heard)
    assert [w.word for w in transcript.words if w.speaker == "me"] == [word]
    assert texts(transcript)[1] == ("me", word)


async def test_the_same_words_at_another_time_stay() -> None:
    """Somebody repeats what was said."""
    transcript = await both(spoken("closed in strong wind", 5.0))
    assert speakers(transcript).count("me") == 4


@pytest.mark.parametrize(("later", "own"), [(0.4, ["Yes."]), (0.25, ["Yes."]), (0.12, [])])
async def test_the_same_reply_by_chance_stays(later: float, own: list[str]) -> None:
    """If it is not as much later as the bleed is."""
    remote = [*REMOTE, *spoken("Yes.", 7.0)]
    bleed = spoken("the harbour is closed in strong wind today", 0.1)
    heard = [*bleed, *spoken("Yes.", 7.0 + later)]
    transcript = await both(heard, remote)
    assert [w.word for w in transcript.words if w.speaker == "me"] == own


@pytest.mark.parametrize("later", [-0.4, -0.2, 0.05, 0.12, 0.3, 0.45])
async def test_e3_one_word_that_both_say_is_no_sign_of_bleed(later: float) -> None:
    """Nor are two: nothing else was heard from the loudspeaker."""
    remote = spoken("hello everyone", 1.0)
    greeting = spoken("hello everyone", 1.0 + later)
    for own in (greeting[:1], greeting):
        transcript = await both([*own, *spoken("can you hear me", 4.0)], remote)
        assert transcript.bleed_removed == 0


@pytest.mark.parametrize("around", ["the harbour is closed in strong wind today", ""])
async def test_e3_a_word_that_is_said_before_its_remote_twin_stays(around: str) -> None:
    """Whether other words are bleed or not: that comes later."""
    remote = [*REMOTE, *spoken("Yes.", 7.0)]
    heard = [*spoken(around, 0.05), *spoken("Yes.", 6.9)]
    transcript = await both(heard, remote)
    assert [w.word for w in transcript.words if w.speaker == "me"] == ["Yes."]


def replies(lags: Sequence[float]) -> tuple[list[Word], list[Word]]:
    """Remote replies, and local ones so much later."""
    remote = [word for n in range(len(lags)) for word in spoken("Right.", 5.0 * n + 2)]
    local = [word for n, lag in enumerate(lags) for word in spoken("Right.", 5.0 * n + 2 + lag)]
    return local, remote


async def test_e3_replies_that_both_give_by_chance_are_no_sign_of_bleed() -> None:
    """However many: as many are a little earlier as are a little later."""
    local, remote = replies([n / 50 - 0.4 for n in range(40)])
    assert (await both(local, remote)).bleed_removed == 0


async def test_many_words_that_are_all_as_much_later_are_bleed() -> None:
    """Though none follows another: a loudspeaker is heard in pieces."""
    local, remote = replies([0.1 + n / 500 for n in range(12)])
    assert (await both(local, remote)).bleed_removed == 12


async def test_bleed_that_was_misheard_is_left_out() -> None:
    """Within a row of bleed a word that is nearly the same counts as the same."""
    heard = spoken("the harbours is closed in strong winds today", 0.12)
    assert (await both(heard)).bleed_removed == 8


async def test_the_local_clock_can_be_set() -> None:
    """Channels that were cut apart may begin at different times."""
    heard = spoken("the harbour is closed", 10.0)
    transcript = await both([*heard, *spoken("No.", 16.0)], offset=-9.9)
    assert transcript.bleed_removed == 4
    assert transcript.words[-1].start == pytest.approx(6.1)


async def test_the_same_words_at_the_same_times_are_dual_mono() -> None:
    """The recording is not of two channels; the answer says so."""
    transcript = await both(REMOTE)
    assert transcript.dual_mono
    assert speakers(transcript) == ["R"] * 8
    assert transcript.notes == ["both channels hold the same sound, so the local one was left out"]


async def test_the_same_loudness_is_dual_mono() -> None:
    """However the words were recognised."""
    levels = [0.1, 0.5, 0.2, 0.9, 0.3] * 4
    channel = LocalChannel(words=spoken("a herb or is close", 0.0), levels=[x / 2 for x in levels])
    request = LabelRequest(words=REMOTE, turns=TURNS, local=channel, levels=levels)
    assert (await label_transcript(request)).dual_mono


@pytest.mark.parametrize("levels", [[0.0] * 20, [0.5, 0.1, 0.9, 0.2] * 5, [0.1, 0.5]])
async def test_other_loudness_is_not_dual_mono(levels: list[float]) -> None:
    """Silence, something else, or a channel of another length."""
    request = LabelRequest(
        words=REMOTE,
        turns=TURNS,
        local=LocalChannel(words=spoken("Really?", 4.5), levels=levels),
        levels=[0.1, 0.5, 0.2, 0.9, 0.3] * 4,
    )
    assert not (await label_transcript(request)).dual_mono


@pytest.mark.parametrize(
    ("text", "start", "stays"),
    [
        ("The harbour is closed in strong wind today.", 0.1, False),
        ("The harbour is closed, no, in any wind.", 0.1, True),
        ("Today.", 2.9, True),
        ("In strong wind.", 1.7, True),
    ],
)
async def test_segments_alone_that_are_bleed_are_left_out(
    text: str, start: float, stays: bool
) -> None:
    """Only as a whole, and not if they are short: their words' times are a guess."""
    local = LocalChannel(segments=segments((text, start, 3.4)))
    remote = [Segment(text="The harbour is closed in strong wind today.", start=0, end=3.2)]
    request = LabelRequest(segments=remote, turns=TURNS, local=local)
    transcript = await label_transcript(request)
    assert (("local", text) in texts(transcript)) == stays


async def test_local_words_without_times_are_the_local_speakers() -> None:
    """Nothing else is needed to know them."""
    transcript = await both(words(("So", None, None)), [])
    assert speakers(transcript) == ["me"]


async def test_a_local_channel_needs_no_turns() -> None:
    """The remote side is of nobody then."""
    request = LabelRequest(words=REMOTE, local=LocalChannel(words=spoken("Really?", 4.5)))
    transcript = await label_transcript(request)
    assert speakers(transcript) == [None] * 8 + ["local"]
    assert transcript.notes == ["no turns were given, so no speaker is known"]
