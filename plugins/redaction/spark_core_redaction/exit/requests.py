"""Requests taken apart: every text in them, and how they are put together again without."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from pydantic_core import from_json, to_json

from .refusing import check_object, check_text, refused, text_file
from .words import CALL_IDS, PROPERTY_LISTS, PROTOCOL, UNTOLD, WORDS

__all__ = ["Outgoing"]

#: Makes a piece of what leaves out of the scrubbed texts.
Put = Callable[[Sequence[str]], Any]

#: Containers within containers, in texts that are JSON, too.
DEEPEST: Final = 64

#: Digits from which on a number may say who somebody is.
TELLING: Final = 4

#: Digits that a number of the API itself may have without being looked at.
USUAL: Final = 6

#: Characters up to which a value is looked at together with its name.
SHORT: Final = 200


class Outgoing:
    """The request *body*, taken apart.

    ``texts`` are all that it says, and ``places`` where each stands, as JSON pointers; ``names``
    are the names of functions that were changed, as they leave, with what they were.

    :raises Withheld: something in it never leaves.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.texts: list[str] = []
        self.places: list[str] = []
        self.names: dict[str, str] = {}
        self._known: dict[str, int] = {}
        self._calls: dict[str, str] = {}
        self._nested = 0
        told = {name: value for name, value in body.items() if name not in UNTOLD}
        self._put = self._object(told, "", "", 0)

    def put(self, scrubbed: Sequence[str], model: str) -> bytes:
        """What leaves, with *scrubbed* in the place of ``texts``, for *model*."""
        return to_json({**self._put(scrubbed), "model": model})

    # ------------------------------------------------------------------------------- containers

    def _any(self, value: Any, key: str, place: str, depth: int) -> Put:
        if depth > DEEPEST:
            raise refused("what is nested too deeply to be looked at", place)
        if isinstance(value, dict):
            return self._object(value, key, place, depth)
        if isinstance(value, list):
            return self._list(value, key, place, depth)
        if isinstance(value, str):
            return self._text(value, key, place, depth)
        if value is None or isinstance(value, bool):
            return _always(value)
        return self._number(value, key, place)

    def _object(self, value: Mapping[str, Any], key: str, place: str, depth: int) -> Put:
        check_object(value, place, nested=self._nested > 0)
        puts = [
            (self._key(name, place), self._field(value, key, name, _below(place, name), depth))
            for name in value
            if not (name == "id" and key == "input")  # what its server calls an item
        ]
        return lambda done: {name(done): put(done) for name, put in puts}

    def _field(self, holder: Mapping[str, Any], key: str, name: str, place: str, depth: int) -> Put:
        value = holder[name]
        if isinstance(value, str) and not self._nested:
            if name in CALL_IDS or (name == "id" and key == "tool_calls"):
                return _always(self._calls.setdefault(value, f"call_{len(self._calls)}"))
            if name == "file_data":
                return self._file(holder, place)
            if name == "name" and _is_called(holder, key):
                return self._name(value, place)
        if place == "/model":
            return _always(None)  # the settings say what it is called
        return self._any(value, name, place, depth + 1)

    def _list(self, values: Sequence[Any], key: str, place: str, depth: int) -> Put:
        puts: list[Put] = []
        at = 0
        for kind, group in groupby(values, _text_kind):
            members = list(group)
            if kind is None:
                for index, value in enumerate(members, at):
                    if not (key == "input" and _is_thought(value)):
                        puts.append(_single(self._any(value, key, f"{place}/{index}", depth + 1)))
            else:
                puts.append(self._parts(members, f"{place}/{at}", depth))
            at += len(members)
        return lambda done: [item for put in puts for item in put(done)]

    def _parts(self, parts: Sequence[Mapping[str, Any]], place: str, depth: int) -> Put:
        """Texts that follow each other, which are one where something goes on in the next."""
        for part in parts:
            check_object(part, place, nested=self._nested > 0)
        puts = [self._text(part["text"], "text", f"{place}/text", depth) for part in parts]
        whole = self._text("".join(part["text"] for part in parts), "text", place, depth)

        def put(done: Sequence[str]) -> list[Any]:
            texts, joined = [text(done) for text in puts], whole(done)
            if "".join(texts) != joined:
                return [{**parts[0], "text": joined}]
            return [{**part, "text": text} for part, text in zip(parts, texts, strict=True)]

        return put

    # ------------------------------------------------------------------------------------ texts

    def _add(self, text: str, place: str) -> Callable[[Sequence[str]], str]:
        if text.isascii() and not any(map(str.isalnum, text)):  # others may be letters in disguise
            return _always(text)
        at = self._known.setdefault(text, len(self.texts))
        if at == len(self.texts):
            self.texts.append(text)
            self.places.append(place)
        return lambda done: done[at]

    def _text(self, text: str, key: str, place: str, depth: int) -> Put:
        if text in WORDS.get(key, ()):
            return _always(text)
        if key in PROPERTY_LISTS:
            return self._key(text, place)
        check_text(text, place)
        if key == "arguments" or "\\" in text:
            inner = _json_in(text)
            if inner is not None:
                return self._json(text, inner, key, place, depth)
        return self._said_of(key, text, place)

    def _said_of(self, key: str, text: str, place: str) -> Callable[[Sequence[str]], str]:
        """*text* with its name before it, which may say what it is."""
        is_own = key not in PROTOCOL or self._nested > 0
        if not (is_own and key) or len(text) > SHORT or "\n" in text:
            return self._add(text, place)
        before = f"{_spaced(key)}: "
        put = self._add(before + text, place)

        def without(done: Sequence[str]) -> str:
            said = put(done)
            return said.removeprefix(before) if said.startswith(before) else said

        return without

    def _json(self, text: str, value: Any, key: str, place: str, depth: int) -> Put:
        """A text that is JSON: escapes in it hide nothing."""
        self._nested += 1
        inner = self._any(value, key, place, depth + 1)
        self._nested -= 1

        def put(done: Sequence[str]) -> str:
            said = inner(done)
            return text if said == value else to_json(said).decode()

        return put

    def _number(self, value: float, key: str, place: str) -> Put:
        written = repr(value)
        digits = sum(map(str.isdigit, written))
        if digits < TELLING or (key in PROTOCOL and not self._nested and digits <= USUAL):
            return _always(value)
        put = self._said_of(key, written, place)
        return lambda done: value if (said := put(done)) == written else said

    def _key(self, name: str, place: str) -> Callable[[Sequence[str]], str]:
        """The name of a field, which may be one of a person."""
        if name in PROTOCOL:
            return _always(name)
        plain, apart = self._add(name, place), self._add(_spaced(name), place)

        def put(done: Sequence[str]) -> str:
            if plain(done) != name or apart(done) == _spaced(name):
                return plain(done)
            return apart(done)

        return put

    def _name(self, name: str, place: str) -> Put:
        """The name of a function, which must stay one word."""
        put = self._key(name, place)

        def word(done: Sequence[str]) -> str:
            said = put(done)
            if said == name:
                return name
            said = re.sub(r"[^A-Za-z0-9_-]+", "_", said).strip("_")
            self.names[said] = name
            return said

        return word

    def _file(self, part: Mapping[str, Any], place: str) -> Put:
        before, content = text_file(part, place)
        put = self._text(content, "file_data", place, 0)
        return lambda done: before + base64.b64encode(put(done).encode()).decode()


def _always(value: Any) -> Put:
    return lambda done: value


def _single(put: Put) -> Put:
    return lambda done: [put(done)]


def _below(place: str, name: str) -> str:
    """The place of the field *name* of what is at *place*; what others call it is not told."""
    return f"{place}/{name if name in PROTOCOL else '*'}"


def _spaced(name: str) -> str:
    """The words of a name in one word: ``customer_number``, ``customerNumber``."""
    return re.sub(r"[_.-]+|(?<=[^\W\d_])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", " ", name).strip()


def _text_kind(value: Any) -> str | None:
    """Of which kind a part is that says a text and nothing else."""
    if isinstance(value, dict) and value.keys() == {"type", "text"}:
        kind, text = value["type"], value["text"]
        if isinstance(kind, str) and isinstance(text, str) and kind in WORDS["type"]:
            return kind
    return None


def _is_thought(value: Any) -> bool:
    """Whether it is what a model thought, which is its server's and may be sealed."""
    return isinstance(value, dict) and value.get("type") == "reasoning"


def _is_called(holder: Mapping[str, Any], key: str) -> bool:
    """Whether the name in *holder* is one that something is called by, and not a text."""
    called = {"arguments", "parameters", "schema", "role", "input", "format"}
    return not called.isdisjoint(holder) or key in {
        "function", "functions", "function_call", "tool_choice", "tools", "custom", "json_schema",
    }  # fmt: skip


def _json_in(text: str) -> Any:
    """The object or list that *text* is, if it is one."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
