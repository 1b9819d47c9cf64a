"""Every text in messages, in OpenAI's shape: contents, parts, names, tool calls, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from spark_core.errors import InvalidRequest, Problem

from .exit.json_texts import all_digits
from .exit.refusing import check_object
from .exit.words import PROTOCOL, TELLING, WORDS
from .forms import JsonText

__all__ = ["parts_in", "refuse_unreadable", "texts_in", "with_texts"]

#: The end of a pointer to the text of a part.
_PART: Final = re.compile(r"/\d+/text$")

#: Deeper than any message is.
_DEEPEST: Final = 60


def refuse_unreadable(value: Any, pointer: str) -> None:
    """See that there is nothing in *value* that cannot be read, such as pictures.

    :raises Withheld: there is.
    """
    if isinstance(value, dict):
        check_object(value, pointer, nested=False)
        for name, inner in value.items():
            refuse_unreadable(inner, f"{pointer}/{_told(name)}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            refuse_unreadable(inner, f"{pointer}/{number}")


def parts_in(texts: Sequence[str], pointers: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The *texts* of parts that follow each other in one message, with its pointer."""
    placed = [(p, text) for p, text in zip(pointers, texts, strict=True) if _PART.search(p)]
    for message, group in groupby(placed, lambda each: _PART.sub("", each[0])):
        parts = [text for _, text in group]
        if len(parts) > 1:
            yield message, parts


def texts_in(value: Any, pointer: str, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text in *value*, also what fields are called, with a JSON pointer to it.

    So are numbers that may say who somebody is.

    :raises InvalidRequest: it is nested too deeply.
    """
    if depth > _DEEPEST:
        raise InvalidRequest("too deeply nested", problems=[Problem(pointer, "too deeply nested")])
    if isinstance(value, str):
        if not _is_plain(key, value):
            yield pointer, _as_it_is(key, value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            below = f"{pointer}/{_told(name)}"
            if name not in PROTOCOL:
                yield below, name
            yield from texts_in(inner, below, name, depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts_in(inner, f"{pointer}/{number}", key, depth + 1)
    elif _is_telling(value):
        yield pointer, all_digits(value)


def with_texts(value: Any, texts: Iterator[str], key: str = "") -> Any:
    """*value* with other *texts*, in the order of :func:`texts_in`."""
    if isinstance(value, str):
        return value if _is_plain(key, value) else next(texts)
    if isinstance(value, dict):
        return {
            (name if name in PROTOCOL else next(texts)): with_texts(inner, texts, name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [with_texts(inner, texts, key) for inner in value]
    if _is_telling(value) and (said := next(texts)) != all_digits(value):
        return said
    return value


def _is_plain(key: str, value: str) -> bool:
    """Whether it is a word of the API's own."""
    return value in WORDS.get(key, ())


def _is_telling(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and sum(map(str.isdigit, all_digits(value))) >= TELLING


def _as_it_is(key: str, value: str) -> str:
    """*value*, as JSON where it is that: what a call's function is called with."""
    return JsonText(value) if key == "arguments" else value


def _told(name: str) -> str:
    """*name* in a pointer; what others call a field is not told."""
    return name if name in PROTOCOL else "*"
