"""Every text of a request is looked at, wherever it stands, and nothing else is changed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_redaction.exit.requests import DEEPEST, Outgoing
from spark_core_redaction.withheld import Withheld

ADA = "Ada Example"
PHONE = 491701234567


def scrubbed(text: str) -> str:
    for value, mark in (
        (ADA, "[PERSON_1]"),
        ("ADA EXAMPLE", "[PERSON_1_2]"),
        (str(PHONE), "[PHONE_1]"),
        ("4111111111111111", "[CARD_1]"),
        ("10423", "[NUMBER_1]"),
    ):
        text = text.replace(value, mark)
    return text


def sent(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What leaves instead of *body*, and as it is written."""
    outgoing = Outgoing({"model": "m", **body})
    content = outgoing.put([scrubbed(text) for text in outgoing.texts], "real")
    return json.loads(content), content.decode()


def says(content: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content, **more}]}


def calling(arguments: str, name: str = "look_up") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c9", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "c9", "content": "done"},
        ]
    }


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


def schema(**more: Any) -> dict[str, Any]:
    return tool(parameters={"type": "object", "properties": {"who": {"type": "string", **more}}})


ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in ADA)

PLACES: dict[str, dict[str, Any]] = {
    "a message": says(f"call {ADA}"),
    "a part": says([{"type": "text", "text": ADA}]),
    "a part with more": says([{"type": "text", "text": ADA, "cache_control": {"type": "x"}}]),
    "over two parts": says([{"type": "text", "text": "Ada Ex"}, {"type": "text", "text": "ample"}]),
    "over two parts with more": says(
        [
            {"type": "output_text", "text": "Ada Ex", "annotations": [], "logprobs": []},
            {"type": "output_text", "text": "ample", "annotations": [ADA], "logprobs": []},
        ]
    ),
    "a refusal": says([{"type": "refusal", "refusal": ADA}], role="assistant"),
    "a system message": says(ADA, role="system"),
    "the name of who speaks": says("hi", name=ADA),
    "an underlined name of who speaks": says("hi", name="Ada_Example"),
    "a tool's result": says(ADA, role="tool", tool_call_id="x"),
    "a result that is JSON with escapes": says('{"a": "' + ESCAPED + '"}', role="tool"),
    "a call's id": says("x", role="tool", tool_call_id=ADA),
    "arguments": calling(json.dumps({"who": ADA})),
    "arguments, nested": calling(json.dumps({"a": [{"b": {"c": [ADA]}}]})),
    "arguments, as a key": calling(json.dumps({ADA: 1})),
    "arguments, escaped": calling('{"who": "' + ESCAPED + '"}'),
    "arguments, twice escaped": calling(
        json.dumps({"who": json.dumps({"x": '{"y": "' + ESCAPED + '"}'})})
    ),
    "arguments, a number": calling(json.dumps({"phone": PHONE})),
    "arguments, given twice": calling('{"who": "Ada Example", "who": "x"}'),
    "arguments, given twice deep within": calling('[{"a": [{"b": "Ada Example", "b": 1}]}]'),
    "arguments, a number with an exponent": calling('{"phone": 4.91701234567e11}'),
    "arguments, a number as a fraction": calling('{"phone": 491701234567.0}'),
    "a result that says something twice": says('{"a": "Ada Example", "a": "\\n"}', role="tool"),
    "arguments, no JSON": calling("{who: " + ADA),
    "the name of a function": calling("{}", name="call_Ada_Example"),
    "the name of a function in one word": calling("{}", name="callAdaExample"),
    "the name of a tool": {
        "tools": [{"type": "function", "function": {"name": "mail_Ada_Example"}}]
    },
    "a tool's description": tool(description=f"writes to {ADA}"),
    "a property's description": schema(description=f"such as {ADA}"),
    "a property's default": schema(default=ADA),
    "a property's choices": schema(enum=["nobody", ADA]),
    "a property's choice of numbers": schema(enum=[10423]),
    "a property's default number": schema(default=10423),
    "a number where a text belongs": says(10423),
    "a number that is called as the API's own": {**says("x"), "metadata": {"seed": 10423}},
    "a number with more digits than it can have": {**says("x"), "whatever": 4.111111111111111e15},
    "a property's examples": schema(examples=[ADA]),
    "a property's name": tool(parameters={"properties": {ADA: {}}, "required": [ADA]}),
    "metadata": {**says("x"), "metadata": {"case": ADA}},
    "a key of metadata": {**says("x"), "metadata": {ADA: "x"}},
    "who asks": {**says("x"), "user": ADA, "safety_identifier": ADA, "prompt_cache_key": ADA},
    "stop": {**says("x"), "stop": [ADA]},
    "a stop alone": {**says("x"), "stop": ADA},
    "a prediction": {**says("x"), "prediction": {"type": "content", "content": ADA}},
    "a schema of answers": {
        **says("x"),
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"description": ADA}},
        },
    },
    "where a search is made": {**says("x"), "web_search_options": {"city": ADA}},
    "a field that nobody knows": {**says("x"), "whatever": {"x": [[ADA]]}},
    "a name for a field that nobody knows": {**says("x"), ADA: True},
    "a number that nobody knows": {**says("x"), "whatever": PHONE},
    "a number with its name": {**says("x"), "metadata": {"customer": 10423}},
    "a number for a seed": {**says("x"), "seed": 4111111111111111},
    "a bias": {**says("x"), "logit_bias": {str(PHONE): 1}},
    "a text file": says(
        [
            {
                "type": "file",
                "file": {
                    "filename": f"{ADA}.txt",
                    "file_data": "data:text/plain;base64,"
                    + base64.b64encode(f"dear {ADA}".encode()).decode(),
                },
            }
        ]
    ),
    "input": {"input": ADA},
    "instructions": {"input": "x", "instructions": ADA},
    "an input message": {"input": [{"role": "user", "content": ADA}]},
    "an input part": {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": ADA}]}]
    },
    "an input call": {
        "input": [
            {"type": "function_call", "id": ADA, "call_id": ADA, "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": f'["{ADA}"]'},
        ]
    },
    "an input call's output": {
        "input": [{"type": "function_call_output", "call_id": "1", "output": ADA}]
    },
    "an input custom call": {
        "input": [{"type": "custom_tool_call", "call_id": "1", "name": "f", "input": ADA}]
    },
    "thoughts": {
        "input": [
            {"type": "reasoning", "encrypted_content": "x", "summary": [ADA]},
            {"role": "user", "content": "x"},
        ]
    },
    "an input tool": {
        "input": "x",
        "tools": [{"type": "function", "name": "f", "description": ADA}],
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_private_leaves(place: str) -> None:
    """Whatever the place, not even in base64 or in escapes."""
    value, written = sent(PLACES[place])
    content = written + json.dumps(_unpacked(value), ensure_ascii=False)
    for private in (ADA, "Ada_Example", "AdaExample", str(PHONE), "4111111111111111", "10423"):
        assert private not in content, content


def _unpacked(value: Any) -> Any:
    """What is packed into texts."""
    if isinstance(value, dict):
        return {name: _unpacked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_unpacked(inner) for inner in value]
    if isinstance(value, str) and value.startswith("data:"):
        return base64.b64decode(value.partition(",")[2]).decode()
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return _unpacked(json.loads(value))
        except ValueError:
            return value
    return value


ORDINARY: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{ "n" : 1, "s": "\\u00fc" }'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": '{"path": "C:\\\\x"}'},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "strict": True,
                "parameters": {
                    "type": "object",
                    "properties": {"n": {"type": ["integer", "null"]}, "s": {"type": "string"}},
                    "required": ["n", "s"],
                    "additionalProperties": False,
                },
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "temperature": 0.7,
    "max_tokens": 128000,
    "stream": True,
    "stream_options": {"include_usage": True},
    "metadata": {"purpose": "test"},
    "n": 2,
    "stop": ["\n\n"],
}


def test_what_is_not_private_leaves_as_it_is() -> None:
    assert sent(ORDINARY)[0] == {**ORDINARY, "model": "real"}


def test_calls_and_their_results_stay_together_by_names_of_our_own() -> None:
    value, _ = sent(calling("{}"))
    call, result = value["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == "call_0"


def test_the_name_of_a_function_stays_one_word_and_is_the_same_everywhere() -> None:
    body = {**calling("{}", name="mail_Ada_Example"), **tool(name="mail_Ada_Example")}
    outgoing = Outgoing(body)
    value = json.loads(outgoing.put([scrubbed(text) for text in outgoing.texts], "m"))
    assert value["messages"][0]["tool_calls"][0]["function"]["name"] == "mail_PERSON_1"
    assert value["tools"][0]["function"]["name"] == "mail_PERSON_1"
    assert outgoing.names == {"mail_PERSON_1": "mail_Ada_Example"}


def test_a_number_is_looked_at_with_its_name_and_becomes_a_text() -> None:
    value, _ = sent(calling(json.dumps({"customer": 10423, "n": 7})))
    arguments = value["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"customer": "[NUMBER_1]", "n": 7}


def test_places_name_no_field_that_is_somebody_s_own() -> None:
    outgoing = Outgoing({**says("hello"), "metadata": {ADA: {"x": "hello there"}}})
    assert all(ADA not in place for place in outgoing.places)
    assert "/metadata/*/*" in outgoing.places


@pytest.mark.parametrize("text", ["ⒶⒹⒶ", "⠁⠙⠁", "🇦🇩🇦"])
def test_letters_in_disguise_are_looked_at(text: str) -> None:
    assert Outgoing(says(text)).texts == [text]


def test_what_is_replaced_is_counted_as_often_as_it_leaves() -> None:
    """Not as often as it was looked at: once in a part, and once in all parts together."""
    parts = [{"type": "text", "text": text} for text in (f"a {ADA}", f"b {ADA}")]
    body = {"messages": [{"role": "user", "content": c} for c in (parts, ADA, ADA)]}
    outgoing = Outgoing({**body, "metadata": {"case": f"for {ADA}"}})
    outgoing.put([scrubbed(text) for text in outgoing.texts], "m")
    found = [{"PERSON": text.count(ADA)} for text in outgoing.texts]
    assert outgoing.counted(found) == {"PERSON": 5}


def test_a_value_comes_without_its_name_also_where_that_was_replaced() -> None:
    value, _ = sent({"metadata": {ADA: f"for {ADA}"}})
    assert value["metadata"] == {"[PERSON_1]": "for [PERSON_1]"}


def test_equal_texts_are_looked_at_once() -> None:
    assert Outgoing({"messages": [{"role": "user", "content": "same"}] * 9}).texts == ["same"]


def test_a_field_that_is_given_twice_leaves_once() -> None:
    """The second is looked at; the first is not there any more."""
    from pydantic_core import from_json

    body = from_json(b'{"messages": [{"content": "Ada Example", "content": "x", "role": "user"}]}')
    assert ADA not in sent(body)[1]


@pytest.mark.parametrize("arguments", ['{"a": 1e400}', "[[-1e999]]"])
def test_a_number_that_is_none_is_refused(arguments: str) -> None:
    """It would leave as something that is no JSON."""
    with pytest.raises(Withheld, match="too large"):
        Outgoing(calling(arguments))


@pytest.mark.parametrize("bomb", ["lists", "objects", "texts"])
def test_a_depth_bomb_is_refused(bomb: str) -> None:
    value: Any = ADA
    for _ in range(DEEPEST + 2):
        value = [value] if bomb == "lists" else {"x": value}
    if bomb == "texts":
        value = ADA
        for _ in range(14):  # the text doubles with each escape
            value = json.dumps([value])
        arguments = "[" * 60 + value + "]" * 60
        with pytest.raises(Withheld, match="too deeply"):
            Outgoing(calling(arguments))
        return
    with pytest.raises(Withheld, match="too deeply"):
        Outgoing({"whatever": value})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(ADA) | st.just(f"x{ADA}y"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.just(ADA), inner, max_size=4)
        | inner.map(json.dumps)
    ),
    max_leaves=20,
)


@given(JSON_VALUES, st.sampled_from(["metadata", "whatever", "tools", "arguments"]))
def test_whatever_json_somebody_sends(value: Any, field: str) -> None:
    """It leaves without the name, or not at all; nothing else is raised."""
    body = calling(json.dumps(value)) if field == "arguments" else {field: value}
    try:
        made, written = sent(body)
    except Withheld:
        return
    assert ADA not in written + json.dumps(_unpacked(made), ensure_ascii=False)
