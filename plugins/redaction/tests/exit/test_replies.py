"""Replies are put right, at once and event by event, wherever a stream is cut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spark_core_redaction.exit.events import EventReader
from spark_core_redaction.exit.replies import Replies
from spark_core_redaction.exit.streams import ChatStream, ResponseStream
from spark_core_redaction.forms import Form
from spark_core_redaction.restoring import Restorer

from spark_core.errors import BackendError

ADA = 'Ada "the Pump" Example\n(née Sample) \\ ü'
FORMS = {"PERSON_1": Form(ADA), "EMAIL_2": Form("ada@example.org"), "NUMBER_3": Form("10423")}


def replies(names: dict[str, str] | None = None, *, json: bool = False) -> Replies:
    return Replies(Restorer(FORMS), names or {}, json=json)


def choice(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [*choices], **more}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": arguments}, **more}


def restored(stream: ChatStream | ResponseStream, events: Iterable[Any]) -> list[dict[str, Any]]:
    return [*(told for event in events for told in stream.restored(event)), *stream.rest()]


def texts(chunks: Iterable[dict[str, Any]]) -> dict[Any, str]:
    """Everything that is said in *chunks*, by choice and place."""
    said: dict[Any, str] = {}

    def walk(value: Any, place: tuple[Any, ...]) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, (*place, name))
        elif isinstance(value, list):
            for inner in value:
                walk(inner, (*place, inner["index"]))
        elif isinstance(value, str):
            said[place] = said.get(place, "") + value

    for each in chunks:
        for one in each["choices"]:
            walk(one["delta"], (one["index"],))
    return said


def cut(text: str, *places: int) -> Iterator[str]:
    edges = [0, *places, len(text)]
    return (text[a:b] for a, b in pairwise(edges))


SAID = "Tell [PERSON_1], PERSON_1s and [Person 1]'s [EMAIL_2]; [X] a[0] [PERSON_9]."


@pytest.mark.parametrize("place", range(len(SAID) + 1))
@pytest.mark.parametrize("field", ["content", "refusal", "reasoning_content"])
def test_every_split_position_of_a_text_says_what_the_whole_says(field: str, place: int) -> None:
    """Also with another choice between, which is at another place of the same text."""
    whole = replies().text(SAID, "content")
    assert ADA in whole
    one, other = [*cut(SAID, place)], [*cut(SAID, (place + 7) % len(SAID))]
    events = [
        chunk(choice(0, **{field: a}), choice(1, **{field: b}))
        for a, b in zip(one, other, strict=True)
    ]
    said = texts(restored(ChatStream(replies()), [*events, chunk(choice(0, "stop"))]))
    assert said == {(0, field): whole, (1, field): whole}


ARGUMENTS = json.dumps({"to": "[PERSON_1]", "mail": ["[EMAIL_2]"], "n": 1}) + " "


@pytest.mark.parametrize("place", range(len(ARGUMENTS) + 1))
def test_every_split_position_of_arguments_leaves_json(place: int) -> None:
    """Two calls at once, each cut elsewhere; quotes and line ends of a value are escaped."""
    one, other = [*cut(ARGUMENTS, place)], [*cut(ARGUMENTS, len(ARGUMENTS) - place)]
    events = [
        chunk(choice(tool_calls=[call(0, a), call(1, b)])) for a, b in zip(one, other, strict=True)
    ]
    said = texts(restored(ChatStream(replies()), [*events, chunk(choice(0, "tool_calls"))]))
    for index in (0, 1):
        found = json.loads(said[0, "tool_calls", index, "function", "arguments"])
        assert found == {"to": ADA, "mail": ["ada@example.org"], "n": 1}


ODD = r"""{"a": "[PERSON\\_1] \u005bEMAIL_2\u005d \n\"x\" \ud83d\ude00 \u00fc", "n": [NUMBER_3]}"""


@pytest.mark.parametrize("place", range(len(ODD) + 1))
def test_every_split_position_of_escapes_says_the_same(place: int) -> None:
    """Placeholders that a model escaped are found, and a pair of surrogates stays one."""
    channel = replies().channel("arguments")
    said = "".join(channel.feed(piece) for piece in cut(ODD, place)) + channel.finish()
    assert json.loads(said) == {"a": f'{ADA} ada@example.org \n"x" \N{GRINNING FACE} ü', "n": 10423}


@given(st.text(alphabet='"\\[]{}ud8e0c ax', max_size=30), st.integers(0, 30))
def test_what_is_no_json_is_said_whole(text: str, place: int) -> None:
    """However odd it is, nothing is lost, and it can be sent."""
    channel = replies().channel("arguments")
    said = channel.feed(text[:place]) + channel.feed(text[place:]) + channel.finish()
    said.encode()
    assert said.count("x") == text.count("x")


def test_what_is_held_back_is_said_with_the_end() -> None:
    """Before the end nothing is missing, and the last chunk says the rest."""
    stream = ChatStream(replies())
    [first] = stream.restored(chunk(choice(content="by [PERSON")))
    [last] = stream.restored(chunk(choice(0, "stop")))
    assert first["choices"][0]["delta"] == {"content": "by "}
    assert last["choices"][0]["delta"] == {"content": "[PERSON"}
    assert stream.rest() == ()


def test_a_stream_without_an_end_says_what_is_held_back() -> None:
    stream = ChatStream(replies())
    [_] = stream.restored(chunk(choice(2, tool_calls=[call(1, '"[PERSON')]), model="m"))
    [rest] = stream.rest()
    assert rest["model"] == "m"
    assert texts([rest]) == {(2, "tool_calls", 1, "function", "arguments"): "[PERSON"}


def test_everything_else_passes() -> None:
    event = chunk(usage={"prompt_tokens": 10423}, system_fingerprint="f")
    assert [*ChatStream(replies()).restored(event)] == [event]
    odd = {"error": {"message": "about [EMAIL_2]", "code": 5}}
    [told] = ChatStream(replies()).restored(odd)
    assert told == {"error": {"message": "about ada@example.org", "code": 5}}


def test_names_of_functions_are_what_they_were() -> None:
    names = {"mail_PERSON_1": "mail_Ada"}
    told = replies(names).restored({"function": {"name": "mail_PERSON_1", "arguments": "{}"}})
    assert told == {"function": {"name": "mail_Ada", "arguments": "{}"}}
    function = {"name": "mail_PERSON_1", "arguments": ""}
    [event] = ChatStream(replies(names)).restored(
        chunk(choice(tool_calls=[{"index": 0, "id": "i", "function": function}]))
    )
    assert event["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "mail_Ada"


@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_that_is_to_be_json_stays_json(whole: bool) -> None:
    content = '{"who": "[PERSON_1]", "number": [NUMBER_3]}'
    if whole:
        told = replies(json=True).restored({"choices": [{"message": {"content": content}}]})
        said = told["choices"][0]["message"]["content"]
    else:
        events = [chunk(choice(content=letter)) for letter in content]
        said = texts(restored(ChatStream(replies(json=True)), events))[0, "content"]
    assert json.loads(said) == {"who": ADA, "number": 10423}


def test_unknown_placeholders_are_left_and_counted_once() -> None:
    found = replies()
    said = found.restored({"a": "[PERSON_9]", "b": ["[PERSON_9]", "[EMAIL_2]"]})
    assert said == {"a": "[PERSON_9]", "b": ["[PERSON_9]", "ada@example.org"]}
    assert found.unknown == 1


# ----------------------------------------------------------------------------- the Responses API


def response(text: str, arguments: str, pieces: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events of a response that says *text*, in *pieces*, and calls a function."""
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    call = {"item_id": "f", "output_index": 1}
    item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    function = {"type": "function_call", "name": "f", "arguments": arguments}
    yield {"type": "response.created", "response": {"output": [], "instructions": "[EMAIL_2]"}}
    for piece in pieces:
        yield {"type": "response.output_text.delta", **place, "delta": piece}
    yield {"type": "response.output_text.done", **place, "text": text}
    yield {"type": "response.content_part.done", **place, "part": item["content"][0]}
    for letter in arguments:
        yield {"type": "response.function_call_arguments.delta", **call, "delta": letter}
    yield {"type": "response.function_call_arguments.done", **call, "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": 1, "item": function}
    yield {"type": "response.completed", "response": {"output": [item, function]}}


@pytest.mark.parametrize("place", range(0, len(SAID) + 1))
def test_events_of_a_response_say_the_same_in_pieces_and_whole(place: int) -> None:
    events = [
        {**event, "sequence_number": number}
        for number, event in enumerate(response(SAID[:-1], ARGUMENTS, cut(SAID[:-1], place)))
    ]
    told = restored(ResponseStream(replies()), events)
    whole = replies().text(SAID[:-1], "")

    def deltas(kind: str) -> str:
        return "".join(event["delta"] for event in told if event["type"] == f"{kind}.delta")

    assert deltas("response.output_text") == whole
    assert json.loads(deltas("response.function_call_arguments"))["to"] == ADA
    done = {event["type"]: event for event in told if "delta" not in event}
    assert done["response.output_text.done"]["text"] == whole
    message, function = done["response.completed"]["response"]["output"]
    assert message["content"][0]["text"] == whole
    assert json.loads(function["arguments"])["to"] == ADA
    assert [event["sequence_number"] for event in told] == [*range(len(told))]
    assert told[0]["response"]["instructions"] == "ada@example.org"


# ----------------------------------------------------------------------------------- the events

STREAM = (
    b': a comment\n\ndata: {"a":\r\ndata:  1}\r\n\r\n'
    b"event: x\nid: 7\ndata: \xc3\xbc\n\ndata: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_events_are_the_same_however_the_bytes_are_cut(places: list[int]) -> None:
    reader = EventReader()
    edges = [0, *places, len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(edges)]
    events = [event for piece in pieces for event in reader.feed(piece)]
    assert [event.data for event in events] == [None, b'{"a":\n 1}', "ü".encode(), b"[DONE]"]
    assert events[2].encoded(b"y") == b"event: x\nid: 7\ndata: y\n\n"
    assert events[0].encoded() == b": a comment\n\n"
    assert not reader.is_within


def test_half_an_event_is_known_as_such() -> None:
    reader = EventReader()
    assert [*reader.feed(b"data: 1\n")] == []
    assert reader.is_within


def test_an_event_without_an_end_is_given_up() -> None:
    reader = EventReader()
    assert [*reader.feed(b"x" * 2**23)] == []
    with pytest.raises(BackendError, match="more than"):
        [*reader.feed(b"x" * 2**24)]


PIECES = st.lists(
    st.sampled_from(
        [
            "[",
            "]",
            "PERSON",
            "_1",
            "[PERSON_1]",
            "person_1",
            "'s",
            " ",
            "[EMAIL_2",
            "]",
            "x",
            "\\",
            "9",
        ]
    )
    | st.text(max_size=3),
    max_size=12,
)


@settings(max_examples=300)
@given(PIECES, st.sampled_from(["content", "refusal"]))
def test_a_stream_says_what_the_buffered_oracle_says(pieces: list[str], field: str) -> None:
    """Whatever is said, and however it is cut."""
    events = [chunk(choice(0, **{field: piece})) for piece in pieces]
    said = texts(restored(ChatStream(replies()), [*events, chunk(choice(0, "stop"))]))
    assert said.get((0, field), "") == replies().text("".join(pieces), "")


def test_a_mark_of_its_encoding_before_the_first_event_hides_nothing() -> None:
    """As browsers read it; it would make the first line another one, which is sent on as it is."""
    reader = EventReader()
    pieces = [b"\xef", b"\xbb\xbfda", b"ta: 1\n\n\xef\xbb\xbfdata: 2\n\n"]
    told = [event.data for piece in pieces for event in reader.feed(piece)]
    assert told == [b"1", None]
