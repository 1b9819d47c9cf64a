"""What a word on the command line stands for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import click

__all__ = [
    "JSON",
    "JSON_OR_TEXT",
    "Named",
    "encodable",
    "json_or_text",
    "pairs",
    "scalar_or_text",
]


def json_or_text(word: str) -> Any:
    """*word* as JSON where it is JSON, else the text itself: ``3``, ``"3"``, ``[1, 2]``, ``x``."""
    try:
        value = json.loads(word)
    except (ValueError, RecursionError):
        return word
    return value if _is_finite(value) else word


def _is_finite(value: Any) -> bool:
    # Python reads NaN and Infinity, which are no JSON and may well be somebody's words.
    return not isinstance(value, float) or math.isfinite(value)


def scalar_or_text(word: str) -> Any:
    """As :func:`json_or_text`, but lists and objects stay text."""
    value = json_or_text(word)
    return word if isinstance(value, dict | list) else value


def pairs(words: Iterable[str], *, text: bool = False) -> dict[str, Any]:
    """``key=value`` words as a dictionary; a key that comes again gives a list.

    *text* leaves every value as the text it is.

    :raises ValueError: a word without ``=``.
    """
    found: dict[str, list[Any]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ValueError(f"{word!r} is not of the form key=value")
        found.setdefault(key, []).append(value if text else scalar_or_text(value))
    return {key: values if len(values) > 1 else values[0] for key, values in found.items()}


def encodable(value: Any) -> Any:
    """*value* itself.

    :raises ValueError: there is something in it that is no Unicode text, such as a byte of
        another encoding.
    """
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise ValueError("this is not valid UTF-8") from None
    return value


class Named(click.Choice[str]):
    """A choice by name that gives what the name stands for."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        super().__init__(list(named))
        self._named = named

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What *value* stands for."""
        return self._named[super().convert(value, param, ctx)]


class _Json(click.ParamType[Any]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f"this is not JSON: {error}", param, ctx)


class _JsonOrText(click.ParamType[Any]):
    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return json_or_text(value)


#: JSON, for what has parts.
JSON = _Json()
#: Text, or a number and the like, for what may be either.
JSON_OR_TEXT = _JsonOrText()
