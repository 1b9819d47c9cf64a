"""Whatever is asked is answered, and never with a crash."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spark_core_lab.answers import Call, Stream
from spark_core_lab.knobs import Knobs
from spark_core_lab.running import BACKENDS
from spark_core_lab.text import from_tokens, merged, to_tokens

pytestmark = pytest.mark.anyio

FIELDS = (
    *("model", "messages", "prompt", "input", "query", "documents", "text_1", "text_2", "tokens"),
    *("tools", "tool_choice", "stream", "n", "max_tokens", "response_format", "stream_options"),
    *("dimensions", "voice", "speed", "top_n", "content", "role", "function", "parameters"),
    *("type", "properties", "items", "enum", "name", "text", "json_schema", "schema"),
)

#: What makes sense to each route, where nothing else is put in its place.
RIGHT = {
    **{"messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"},
    **{"query": "x", "documents": ["x"], "text_1": "x", "text_2": "x", "tokens": [3]},
}


def objects(values):
    return st.dictionaries(st.sampled_from(FIELDS), values, max_size=5)


WORDS = st.sampled_from(["user", "function", "json_schema", "object", "array", "none", "kokoro"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.floats() | st.text(max_size=9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | objects(inner),
    max_leaves=12,
)
PATHS = [
    (name, path)
    for name, backend in BACKENDS.items()
    for method, path in backend(Knobs()).routes()
    if method == "POST" and "sleep" not in path
]


@pytest.mark.parametrize(("name", "path"), PATHS)
@settings(max_examples=60, deadline=None)
@given(body=objects(VALUES))
async def test_nonsense_is_the_callers_fault(name, path, body):
    """Any field of any kind, to any route: an answer, or an error below 500."""
    headers = {"content-type": "application/json"}
    call = Call("POST", path, {}, headers, json.dumps({**RIGHT, **body}).encode())
    answer = await BACKENDS[name](Knobs(tokens=2)).answer(call)
    if isinstance(answer, Stream):
        assert [piece async for piece in answer.pieces]
    else:
        assert answer.status < 500


@pytest.mark.parametrize("body", [b"[" * 100_000, b'"\\ud800"', b"\xff\xfe{}"])
@pytest.mark.parametrize(("name", "path"), [("vllm", "/score"), ("bge_m3", "/v1/rerank")])
async def test_json_that_is_none_is_a_bad_request(name, path, body):
    call = Call("POST", path, {}, {"content-type": "application/json"}, body)
    assert (await BACKENDS[name](Knobs()).answer(call)).status == 400


async def test_a_schema_that_nothing_fits_is_a_bad_request():
    tools = [{"function": {"name": "x", "parameters": {"enum": []}}}]
    body = json.dumps({**RIGHT, "tools": tools}).encode()
    call = Call("POST", "/v1/chat/completions", {}, {"content-type": "application/json"}, body)
    answer = await BACKENDS["vllm"](Knobs()).answer(call)
    assert (answer.status, b"makes no sense" in answer.body) == (400, True)


@given(st.text())
def test_any_text_can_be_put_together_again(text):
    """But for half a surrogate pair, which no bytes can hold."""
    assert from_tokens(to_tokens(text)) == text.encode("utf-8", "replace").decode()


@given(st.lists(st.text(min_size=1), max_size=99))
def test_merging_loses_nothing(tokens):
    pieces = list(merged(tokens))
    assert "".join(text for text, _ in pieces) == "".join(tokens)
    assert sum(size for _, size in pieces) == len(tokens)
