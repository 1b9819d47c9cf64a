"""vLLM's ``/v1/responses``: OpenAI's Responses API, plain and as events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import count as numbers
from typing import Any

from .answers import Answer, Call, Stream, event, in_json
from .chat import Body, content_of
from .engine import Engine, refuse
from .text import count

__all__ = ["responses"]


async def responses(engine: Engine, call: Call, body: Body) -> Answer | Stream:
    """``POST /v1/responses``"""
    model = engine.model_of(body)
    prompt, last = _prompt(body)
    tokens, finish = engine.answer(prompt, last, body)
    identity = engine.identity(call, "resp", "response", model)
    response = {**_response(identity, body), "usage": None}
    done = _done(response, "".join(tokens), finish, count(prompt), len(tokens))
    if body.get("stream"):
        await engine.ready()
        return Stream(_events(engine, response, tokens, done))
    await engine.run(len(tokens))
    return in_json(done)


def _prompt(body: Body) -> tuple[str, str]:
    """All that is said, and what was said last."""
    given = body.get("input")
    if isinstance(given, str):
        said = [given]
    elif isinstance(given, list) and all(isinstance(item, dict) for item in given):
        said = [content_of(item) for item in given]
    else:
        raise refuse("input: Input should be a valid string or list", "input")
    return "\n".join([body.get("instructions") or "", *said]), said[-1] if said else ""


def _response(identity: Body, body: Body) -> Body:
    """The response as it is when nothing has been said."""
    return {
        "id": identity["id"].replace("-", "_", 1),
        "object": "response",
        "created_at": identity["created"],
        "model": identity["model"],
        "status": "in_progress",
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "parallel_tool_calls": True,
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "background": False,
        "max_output_tokens": body.get("max_output_tokens"),
        "previous_response_id": None,
        "service_tier": "auto",
        "truncation": "disabled",
    }


def _done(response: Body, text: str, finish: str, asked: int, said: int) -> Body:
    short = finish == "length"
    usage = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + said,
    }
    return {
        **response,
        "status": "incomplete" if short else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "output": [_item(response, [_part(text)], "completed")],
        "usage": usage,
    }


def _item(response: Body, content: list[Body], status: str) -> Body:
    number = response["id"].partition("_")[2]
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": None}


async def _events(
    engine: Engine, response: Body, tokens: list[str], done: Body
) -> AsyncGenerator[bytes, None]:
    sequence = numbers()

    def say(name: str, **fields: Any) -> bytes:
        return event({"type": name, "sequence_number": next(sequence), **fields}, name)

    item = _item(response, [], "in_progress")
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    yield say("response.created", response=response)
    yield say("response.in_progress", response=response)
    yield say("response.output_item.added", output_index=0, item=item)
    yield say("response.content_part.added", **place, part=_part(""))
    async with aclosing(engine.stream(tokens)) as texts:
        async for text in texts:
            yield say("response.output_text.delta", **place, delta=text, logprobs=[])
    whole = "".join(tokens)
    yield say("response.output_text.done", **place, text=whole, logprobs=[])
    yield say("response.content_part.done", **place, part=_part(whole))
    yield say("response.output_item.done", output_index=0, item=done["output"][0])
    yield say(f"response.{done['status']}", response=done)
