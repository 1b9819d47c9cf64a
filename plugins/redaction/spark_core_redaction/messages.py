"""Every text in messages, in OpenAI's shape: contents, parts, names, tool calls, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spark_core.errors import InvalidRequest, Problem

from .forms import JsonText

__all__ = ["texts_in", "with_texts"]

#: What keys are called that say nothing about anybody.
_KEYS: Final = frozenset(
    (
        "annotations", "arguments", "audio", "call_id", "content", "custom", "data",
        "description", "detail", "file", "file_data", "file_id", "filename", "format", "function",
        "function_call", "id", "image_url", "input", "input_audio", "name", "output", "parameters",
        "reasoning", "refusal", "role", "status", "strict", "summary", "text", "title",
        "tool_call_id", "tool_calls", "type", "url",
    )
)  # fmt: skip

#: What these keys may say without being looked at.
_WORDS: Final = {
    "role": frozenset(("assistant", "developer", "function", "system", "tool", "user")),
    "type": frozenset(
        (
            "custom", "custom_tool_call", "file", "function", "function_call",
            "function_call_output", "image_url", "input_audio", "input_file", "input_image",
            "input_text", "message", "object", "output_text", "reasoning", "refusal", "string",
            "summary_text", "text",
        )
    ),
}  # fmt: skip

#: Deeper than any message is.
_DEEPEST: Final = 60


def texts_in(value: Any, pointer: str, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text in *value*, also what keys are called, with a JSON pointer to it.

    :raises InvalidRequest: it is nested too deeply.
    """
    if depth > _DEEPEST:
        raise InvalidRequest("too deeply nested", problems=[Problem(pointer, "too deeply nested")])
    if isinstance(value, str):
        if not _is_plain(key, value):
            yield pointer, _as_it_is(key, value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            below = f"{pointer}/{_escaped(name)}" if name in _KEYS else f"{pointer}/*"
            if name not in _KEYS:
                yield pointer, name
            yield from texts_in(inner, below, name, depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts_in(inner, f"{pointer}/{number}", key, depth + 1)


def with_texts(value: Any, texts: Iterator[str], key: str = "") -> Any:
    """*value* with other *texts*, in the order of :func:`texts_in`."""
    if isinstance(value, str):
        return value if _is_plain(key, value) else next(texts)
    if isinstance(value, dict):
        return {
            (name if name in _KEYS else next(texts)): with_texts(inner, texts, name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [with_texts(inner, texts, key) for inner in value]
    return value


def _is_plain(key: str, value: str) -> bool:
    return value in _WORDS.get(key, ())


def _as_it_is(key: str, value: str) -> str:
    """*value*, as JSON where it is that: what a call's function is called with."""
    return JsonText(value) if key == "arguments" else value


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
