"""What never leaves, by kind: it is said where it stands, and not what it is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from spark_core_redaction.exit.requests import Outgoing
from spark_core_redaction.withheld import Withheld

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()


def part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [fields]}]}


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


def text(content: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


TRANSCRIPT = {"segments": [{"start": 0.0, "end": 1.5, "text": "hello", "speaker": "SPEAKER_00"}]}

REFUSED: dict[str, dict[str, Any]] = {
    "a picture": part(type="image_url", image_url={"url": "https://example.org/x.png"}),
    "a picture of the other API": item(
        role="user", content=[{"type": "input_image", "image_url": "x"}]
    ),
    "sound": part(type="input_audio", input_audio={"data": "x", "format": "wav"}),
    "sound that was said before": {
        "messages": [{"role": "assistant", "content": None, "audio": {"id": "a"}}]
    },
    "sound that is asked for": {"messages": [], "audio": {"voice": "v"}},
    "a video": part(type="video_url", video_url={"url": "x"}),
    "a part of a kind that is not known": part(type="hologram", hologram="x"),
    "a part without a kind": part(text="x"),
    "a PDF": part(type="file", file={"file_data": "data:application/pdf;base64,JVBERi0="}),
    "a file that says to be text": part(
        type="file", file={"file_data": f"data:text/plain;base64,{PNG}"}
    ),
    "a file that lies elsewhere": part(type="file", file={"file_id": "file-1"}),
    "a file behind a link": item(role="user", content=[{"type": "input_file", "file_url": "x"}]),
    "a screenshot": item(type="computer_call_output", call_id="1", output={"type": "x"}),
    "a reference to what was said": item(type="item_reference", id="x"),
    "what was said before": {"input": "x", "previous_response_id": "resp_1"},
    "a tool of theirs": {"messages": [], "tools": [{"type": "mcp", "server_url": "x"}]},
    "a picture in a text": text(f"look: data:image/png;base64,{PNG}"),
    "a picture's base64 in a text": text(f"look: {PNG}"),
    "subtitles": text("1\n00:00:01,000 --> 00:00:02,500\nHello.\n"),
    "subtitles of the web": text("WEBVTT\n\n00:01.000 --> 00:02.500\nHello.\n"),
    "turns": text("SPEAKER meeting 1 0.00 2.50 <NA> <NA> speaker_0 <NA> <NA>\n"),
    "who said what": text("SPEAKER_00: Hello.\nSPEAKER_01: Good morning.\n"),
    "a transcript": {
        "messages": [{"role": "tool", "tool_call_id": "1", "content": json.dumps(TRANSCRIPT)}]
    },
    "a transcript with times of another form": text(
        json.dumps({"words": [{"word": "hello", "startTime": "0.1s"}]})
    ),
    "a transcript with its words first": text(
        json.dumps({"segments": [{"words": [{"w": "hello"}], "start": 0.0}]})
    ),
    "a part that is not in a list": {
        "messages": [{"role": "user", "content": {"type": "input_image", "source": "x"}}]
    },
    "what nobody says the kind of": text("data:application/octet-stream;base64,//uQZAAAAAAAAAAA"),
    "a transcript in metadata": {"messages": [], "metadata": TRANSCRIPT},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_never_leaves(kind: str) -> None:
    with pytest.raises(Withheld) as raised:
        Outgoing(REFUSED[kind])
    assert raised.value.problems
    assert "example.org" not in str(raised.value)


@pytest.mark.parametrize("kind", ["Kranzfeld", "kranzfeld", ["Kranzfeld"], {"Kranzfeld": 1}])
def test_a_kind_that_is_not_known_is_not_told(kind: Any) -> None:
    """It may be anything, as all that a caller says."""
    for body in (part(type=kind), item(type=kind), {"tools": [{"type": kind}]}):
        with pytest.raises(Withheld) as raised:
            Outgoing(body)
        assert "ranzfeld" not in f"{raised.value} {raised.value.problems}"


@pytest.mark.parametrize(
    "content",
    [
        "the meeting is at 10:00 --> room 2",
        "UklGR is how a sound begins",
        "the speaker said: hello",
        "the metadata: application/pdf is a type",
        "data: the image is missing",
    ],
)
def test_what_only_speaks_of_it_leaves(content: str) -> None:
    assert Outgoing(text(content)).texts == [content]


def test_files_of_text_may_leave() -> None:
    data = "data:text/markdown;base64," + base64.b64encode(b"# Title").decode()
    outgoing = Outgoing(part(type="file", file={"filename": "a.md", "file_data": data}))
    assert outgoing.texts == ["a.md", "# Title"]
