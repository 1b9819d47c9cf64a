"""The formats of an answer."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from spark_core_transcripts import ResponseFormat, merge, render
from spark_core_transcripts.labelling import transcript_of
from spark_core_transcripts.models import LabelledSegment, LabelledTranscript

from spark_core.errors import BackendError

TRANSCRIPTION = {
    "task": "transcribe",
    "language": "en",
    "duration": 3661.0,
    "text": "Is that so? Yes.",
    "segments": [{"id": 0, "seek": 0, "start": 1.0, "end": 3661.0, "text": " Is that so? Yes."}],
    "words": [
        {"word": "Is", "start": 1.0, "end": 1.2, "probability": 0.9},
        {"word": "that", "start": 1.3, "end": 1.5},
        {"word": "so?", "start": 1.6, "end": 2.0},
        {"word": "Yes.", "start": 3660.1, "end": 3660.5},
    ],
}
DIARIZATION = {
    "duration": 3661.0,
    "segments": [
        {"start": 0.9, "end": 2.1, "speaker": "A", "confidence": 1.0},
        {"start": 3660.0, "end": 3660.6, "speaker": "B & Co"},
    ],
}


@pytest.fixture(scope="module")
def transcript() -> LabelledTranscript:
    return merge(TRANSCRIPTION, DIARIZATION)


def test_text_has_a_line_for_each_speaker(transcript: LabelledTranscript) -> None:
    """With the name."""
    assert render(transcript, "text").body == "A: Is that so?\nB & Co: Yes.\n"


def test_srt_has_the_speaker_in_the_text(transcript: LabelledTranscript) -> None:
    """It has no place of its own for one."""
    assert render(transcript, "srt").body == (
        "1\n00:00:01,000 --> 00:00:02,000\nA: Is that so?\n\n"
        "2\n01:01:00,100 --> 01:01:00,500\nB & Co: Yes.\n"
    )


def test_vtt_has_the_speaker_as_a_voice(transcript: LabelledTranscript) -> None:
    """What would be markup is escaped."""
    assert render(transcript, "vtt").body == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n<v A>Is that so?</v>\n\n"
        "01:01:00.100 --> 01:01:00.500\n<v B &amp; Co>Yes.</v>\n"
    )


def test_json_has_the_text_and_the_segments(transcript: LabelledTranscript) -> None:
    """The text as recognisers give it."""
    answer = json.loads(render(transcript, "json").body)
    assert answer["text"] == "Is that so? Yes."
    assert [segment["speaker"] for segment in answer["segments"]] == ["A", "B & Co"]


def test_verbose_json_has_everything(transcript: LabelledTranscript) -> None:
    """What a recogniser's own has, with speakers."""
    answer = json.loads(render(transcript, "verbose_json").body)
    assert (answer["language"], answer["duration"]) == ("en", 3661.0)
    assert answer["speakers"] == ["A", "B & Co"]
    assert [word["speaker"] for word in answer["words"]] == ["A", "A", "A", "B & Co"]
    assert [segment["id"] for segment in answer["segments"]] == [0, 1]


@pytest.mark.parametrize("response_format", get_args(ResponseFormat))
def test_every_format_says_its_type(
    transcript: LabelledTranscript, response_format: ResponseFormat
) -> None:
    """And an empty transcript has every format."""
    assert "/" in render(transcript, response_format).media_type
    assert render(merge({}, {"segments": []}), response_format).media_type


def segment(text: str, start: float | None, end: float | None) -> LabelledSegment:
    return LabelledSegment(text=text, start=start, end=end, speaker=None)


def test_subtitles_are_always_well_formed() -> None:
    """No empty line, no arrow and no cue without length comes from a text or its times."""
    odd = [segment("a\n\nb --> c", 1, 1), segment("", 1, 2), segment("<i>", None, None)]
    transcript = LabelledTranscript(text="", speakers=[], segments=odd, words=[])
    assert render(transcript, "srt").body == (
        "1\n00:00:01,000 --> 00:00:01,001\na b -> c\n\n2\n00:00:02,000 --> 00:00:02,001\n<i>\n"
    )
    assert "a b --&gt; c" in render(transcript, "vtt").body
    assert "&lt;i&gt;" in render(transcript, "vtt").body


# ------------------------------------------------------------------------------------- merging


def test_a_text_alone_is_kept() -> None:
    """Some recognisers give neither words nor segments."""
    transcript = merge({"text": "So far.", "duration": 2.0}, DIARIZATION)
    assert [(s.text, s.start, s.end) for s in transcript.segments] == [("So far.", 0.0, 2.0)]


def test_words_take_their_punctuation_from_the_text() -> None:
    """Some recognisers give it nowhere else, and no segments beside words."""
    said = [{"word": word, "start": n, "end": n + 0.5} for n, word in enumerate(("so", "yes"))]
    transcript = merge({"text": "So? Yes!", "words": said}, DIARIZATION)
    assert [segment.text for segment in transcript.segments] == ["So?", "Yes!"]
    transcript = merge({"text": "Something else.", "words": said}, DIARIZATION)
    assert transcript.text == "so yes"


def test_null_is_as_good_as_nothing() -> None:
    """Of words and segments."""
    assert merge({"text": "", "words": None, "segments": None}, DIARIZATION).segments == []


@pytest.mark.parametrize(
    ("transcription", "diarization", "place"),
    [
        ({"words": [{"start": 1}]}, DIARIZATION, "words.0.word"),
        ({"words": [{"word": "private", "start": float("nan")}]}, DIARIZATION, "words.0.start"),
        (TRANSCRIPTION, {}, "segments"),
        (TRANSCRIPTION, {"segments": [{"start": 2, "end": 1, "speaker": "A"}]}, "segments.0"),
    ],
)
def test_a_wrong_answer_of_a_server_is_told(
    transcription: dict[str, object], diarization: dict[str, object], place: str
) -> None:
    """With the place, and nothing that was said."""
    with pytest.raises(BackendError, match=place) as caught:
        merge(transcription, diarization)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_a_speakers_name_cannot_look_like_a_subtitles_times(
    response_format: ResponseFormat,
) -> None:
    """As what they say cannot."""
    said = LabelledSegment(text="a --> b", start=0, end=1, speaker="Ann\n\n00:00 --> 00:01")
    body = render(transcript_of([], [said]), response_format).body
    assert body.count("-->") == 1
