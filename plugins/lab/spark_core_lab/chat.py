"""vLLM's ``/v1/chat/completions`` and ``/v1/completions``."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle
from typing import Any, Final

from .answers import STAND_IN, Answer, Call, Stream, event, in_json
from .engine import Engine, refuse
from .text import arguments, count, echo
from .vectors import texts_of

__all__ = ["Body", "chat", "completions", "content_of"]

Body = dict[str, Any]

DONE: Final = b"data: [DONE]\n\n"


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content may be in parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


@dataclass(frozen=True)
class Turn:
    """What is answered: text, or else a call of the function named ``tool``."""

    tokens: list[str]
    finish: str
    asked: int
    tool: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def usage(self) -> Body:
        said = len(self.tokens)
        return {
            "prompt_tokens": self.asked,
            "total_tokens": self.asked + said,
            "completion_tokens": said,
            "prompt_tokens_details": None,
        }


# -------------------------------------------------------------------------------------- chat


async def chat(engine: Engine, call: Call, body: Body) -> Answer | Stream:
    """``POST /v1/chat/completions``"""
    model = engine.model_of(body)
    turn = _turn(engine, body)
    prefix, kind = "chatcmpl", "chat.completion"
    if body.get("stream"):
        head = engine.identity(call, prefix, f"{kind}.chunk", model)
        await engine.ready()
        return Stream(_chat_events(engine, head, turn, _wants_usage(body)))
    await engine.run(len(turn.tokens))
    choice = {
        "index": 0,
        "message": _message(turn, body),
        "logprobs": None,
        "finish_reason": turn.finish,
        "stop_reason": None,
    }
    return in_json(
        {
            **engine.identity(call, prefix, kind, model),
            "choices": [{**choice, "index": n} for n in range(_choices(body))],
            "system_fingerprint": STAND_IN,
            "usage": turn.usage,
        }
    )


def _turn(engine: Engine, body: Body) -> Turn:
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise refuse("messages: Input should be a valid list of messages", "messages")
    texts = [content_of(message) for message in messages]
    asked = count("\n".join(texts))
    users = [t for m, t in zip(messages, texts, strict=True) if m.get("role") == "user"]
    last = users[-1] if users else ""
    tokens, finish = engine.answer("\n".join(texts), last, body)
    if function := _function(body, messages):
        filled = json.dumps(_fill(function.get("parameters", {}), last))
        return Turn(_split(filled), "tool_calls", asked, str(function["name"]))
    if schema := _schema(body):
        return Turn(_split(json.dumps(_fill(schema, last))), "stop", asked)
    return Turn(tokens, finish, asked)


def _function(body: Body, messages: list[Body]) -> Body | None:
    """The function to call: the one that must be, or the first, unless one has answered."""
    choice, tools = body.get("tool_choice", "auto"), body.get("tools") or ()
    functions: list[Body] = [tool["function"] for tool in tools if "function" in tool]
    if isinstance(choice, dict):
        named = choice.get("function", {}).get("name")
        return next((f for f in functions if f["name"] == named), None)
    answered = bool(messages) and messages[-1].get("role") == "tool"
    if choice == "none" or (answered and choice == "auto"):
        return None
    return functions[0] if functions else None


def _schema(body: Body) -> Body | None:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema: Body = wanted.get("json_schema", {}).get("schema", {})
        return schema
    return {"properties": {"answer": {}}} if wanted.get("type") == "json_object" else None


def _fill(schema: Body, prompt: str) -> Any:
    return arguments(schema, (word.rpartition("-")[0] for word in cycle(_words(prompt))))


def _words(prompt: str) -> list[str]:
    return [word.strip() for word in echo(prompt, 8)]


def _split(text: str) -> list[str]:
    return [text[n : n + 4] for n in range(0, len(text), 4)]


def _choices(body: Body) -> int:
    choices = body.get("n") or 1
    if not isinstance(choices, int) or not 1 <= choices <= 16:
        raise refuse(f"n must be from 1 to 16, got {choices}.", "n")
    return choices


def _wants_usage(body: Body) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _tool_id(turn: Turn) -> str:
    said = f"{turn.tool}({turn.text})".encode("utf-8", "replace")
    return f"chatcmpl-tool-{sha256(said).hexdigest()[:32]}"


def _message(turn: Turn, body: Body) -> Body:
    message: Body = {"role": "assistant", "content": turn.text, "tool_calls": []}
    if turn.tool is not None:
        function = {"name": turn.tool, "arguments": turn.text}
        call = {"id": _tool_id(turn), "type": "function", "function": function}
        message = {**message, "content": None, "tool_calls": [call]}
    return message


def _chunk(head: Body, delta: Body, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return event({**head, "choices": [choice]})


async def _chat_events(
    engine: Engine, head: Body, turn: Turn, usage: bool
) -> AsyncGenerator[bytes, None]:
    yield _chunk(head, {"role": "assistant", "content": ""})
    if turn.tool is not None:
        function = {"name": turn.tool, "arguments": ""}
        first = {"id": _tool_id(turn), "type": "function", "index": 0, "function": function}
        yield _chunk(head, {"tool_calls": [first]})
    async with aclosing(engine.stream(turn.tokens)) as texts:
        async for text in texts:
            if turn.tool is None:
                yield _chunk(head, {"content": text})
            else:
                yield _chunk(head, {"tool_calls": [{"index": 0, "function": {"arguments": text}}]})
    yield _chunk(head, {"content": ""}, turn.finish)
    for last in _end(head, turn, usage):
        yield last


def _end(head: Body, turn: Turn, usage: bool) -> Iterator[bytes]:
    if usage:
        yield event({**head, "choices": [], "usage": turn.usage})
    yield DONE


# ------------------------------------------------------------------------------- completions


async def completions(engine: Engine, call: Call, body: Body) -> Answer | Stream:
    """``POST /v1/completions``"""
    model = engine.model_of(body)
    try:
        prompts = texts_of(body.get("prompt"))
    except TypeError:
        raise refuse("prompt: Input should be text or tokens", "prompt") from None
    turns = [Turn(*engine.answer(p, p, {"max_tokens": 16, **body}), count(p)) for p in prompts]
    head = engine.identity(call, "cmpl", "text_completion", model)
    if body.get("stream"):
        await engine.ready()
        return Stream(_text_events(engine, head, turns[0], _wants_usage(body)))
    await engine.run(sum(len(turn.tokens) for turn in turns))
    choices = [_text_choice(turn.text, turn.finish, n) for n, turn in enumerate(turns)]
    whole = Turn([t for turn in turns for t in turn.tokens], "", sum(t.asked for t in turns))
    return in_json({**head, "choices": choices, "usage": whole.usage})


def _text_choice(text: str, finish: str | None, index: int = 0) -> Body:
    return {
        "index": index,
        "text": text,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": None,
    }


async def _text_events(
    engine: Engine, head: Body, turn: Turn, usage: bool
) -> AsyncGenerator[bytes, None]:
    async with aclosing(engine.stream(turn.tokens)) as texts:
        async for text in texts:
            yield event({**head, "choices": [_text_choice(text, None)]})
    yield event({**head, "choices": [_text_choice("", turn.finish)]})
    for last in _end(head, turn, usage):
        yield last
