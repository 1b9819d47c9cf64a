"""OpenAI's own client, unmodified, through the exit: it sees names, and the model sees none."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from ...scripted import Peer
from .conftest import Frontier, in_json, last_text, message, says, streamed

pytestmark = pytest.mark.anyio

TEXT = "Write to Ottilie Kranzfeld (ottilie@kranzfeld.example)."
SAY: Any = [{"role": "user", "content": TEXT}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "send",
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}},
    },
}


def clean(frontier: Frontier) -> None:
    assert frontier.bodies
    assert "kranzfeld" not in frontier.heard.casefold()
    assert "callers-own-key" not in frontier.heard


async def test_a_chat(client: AsyncOpenAI, frontier: Frontier) -> None:
    frontier.script = says(last_text)
    answer = await client.chat.completions.create(model="far", messages=SAY, user="Kranzfeld")
    assert answer.choices[0].message.content == TEXT
    clean(frontier)


async def test_a_chat_that_is_streamed(client: AsyncOpenAI, frontier: Frontier) -> None:
    frontier.script = says(last_text)
    stream = await client.chat.completions.create(model="far", messages=SAY, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == TEXT
    assert len(pieces) > 20
    clean(frontier)


async def test_tools_are_called_and_answered(client: AsyncOpenAI, frontier: Frontier) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        if body["messages"][-1]["role"] == "tool":
            return await peer.send(in_json(message(last_text(body))))
        function = {"name": "send", "arguments": json.dumps({"to": last_text(body)})}
        call = {"id": "call_abc", "type": "function", "function": function}
        await peer.send(in_json(message(None, tool_calls=[call])))

    frontier.script = script
    first = await client.chat.completions.create(model="far", messages=SAY, tools=[TOOL])
    [call] = first.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"to": TEXT}
    more = [*SAY, first.choices[0].message.model_dump()]
    more.append({"role": "tool", "tool_call_id": call.id, "content": f"sent: {TEXT}"})
    second = await client.chat.completions.create(model="far", messages=more, tools=[TOOL])
    assert second.choices[0].message.content == f"sent: {TEXT}"
    clean(frontier)


def response(said: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": said, "annotations": []}
    item = {"id": "m", "type": "message", "role": "assistant", "status": status, "content": [part]}
    return {
        **{"id": "resp_1", "object": "response", "created_at": 1, "model": "far"},
        **{"status": status, "output": [item] if status == "completed" else []},
        **{"parallel_tool_calls": True, "tool_choice": "auto", "tools": []},
    }


async def respond(peer: Peer, body: dict[str, Any]) -> None:
    """Say what was asked, at once or letter by letter."""
    said = body["input"]
    if not body.get("stream"):
        return await peer.send(in_json(response(said)))
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("", "in_progress")}
    ]
    told += [
        {"type": "response.output_text.delta", **place, "delta": c, "logprobs": []} for c in said
    ]
    told += [
        {"type": "response.output_text.done", **place, "text": said, "logprobs": []},
        {"type": "response.completed", "response": response(said)},
    ]
    pieces = [
        f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n".encode()
        for n, e in enumerate(told)
    ]
    await peer.send(*streamed(*pieces))


async def test_a_response(client: AsyncOpenAI, frontier: Frontier) -> None:
    frontier.script = respond
    answer = await client.responses.create(model="far", input=TEXT)
    assert answer.output_text == TEXT
    clean(frontier)


async def test_a_response_that_is_streamed(client: AsyncOpenAI, frontier: Frontier) -> None:
    frontier.script = respond
    stream = await client.responses.create(model="far", input=TEXT, stream=True)
    told = [event async for event in stream]
    deltas = [e.delta for e in told if e.type == "response.output_text.delta"]
    assert "".join(deltas) == TEXT
    assert told[-1].type == "response.completed"
    assert told[-1].response.output_text == TEXT
    assert [event.sequence_number for event in told] == [*range(len(told))]
    clean(frontier)


async def test_what_is_withheld_is_an_error_that_the_client_knows(
    client: AsyncOpenAI, frontier: Frontier
) -> None:
    picture: Any = [{"type": "image_url", "image_url": {"url": "https://kranzfeld.example/a.png"}}]
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        await client.chat.completions.create(
            model="far", messages=[{"role": "user", "content": picture}]
        )
    assert raised.value.code == "withheld"
    assert raised.value.param == "/messages/0/content/0"
    assert frontier.bodies == []
