"""Requests taken apart: every text in them, and how they are put together again without."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from pydantic_core import to_json

from .json_texts import all_digits, is_finite, json_in, says_all
from .refusing import check_object, check_text, refused, text_file
from .words import CALL_IDS, NUMBERS, PROPERTY_LISTS, PROTOCOL, TELLING, UNTOLD, WORDS

__all__ = ["Outgoing"]


class Texts:
    """The scrubbed texts, and how often each was taken of what leaves."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.taken = Counter[int]()

    def take(self, at: int) -> str:
        """One of them."""
        self.taken[at] += 1
        return self._texts[at]

    def aside(self) -> Texts:
        """The same, to see what would be taken."""
        return Texts(self._texts)


#: Makes a piece of what leaves out of the scrubbed texts.
Put = Callable[[Texts], Any]

#: Containers within containers, in texts that are JSON, too.
DEEPEST: Final = 64

#: Digits that a number of the API itself may have without being looked at.
USUAL: Final = 6

#: What may be a transcript in JSON.
_TIMED: Final = re.compile('"(?:segments|words)"')

#: Characters up to which a value is looked at together with its name.
SHORT: Final = 200


class Outgoing:
    """The request *body*, taken apart.

    ``texts`` are all that it says, and ``places`` where each stands, as JSON pointers; ``names``
    are the names of functions that were changed, as they leave, with what they were; ``taken``
    is how often each text stands in what leaves.

    :raises Withheld: something in it never leaves.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.texts: list[str] = []
        self.places: list[str] = []
        self.names: dict[str, str] = {}
        self.taken: Mapping[int, int] = {}
        self._known: dict[str, int] = {}
        self._calls: dict[str, str] = {}
        self._nested = 0
        told = {name: value for name, value in body.items() if name not in UNTOLD}
        self._put = self._object(told, "", "", 0)

    def put(self, scrubbed: Sequence[str], model: str) -> bytes:
        """What leaves, with *scrubbed* in the place of ``texts``, for *model*."""
        texts = Texts(scrubbed)
        content = to_json({**self._put(texts), "model": model})
        self.taken = texts.taken
        return content

    def counted(self, found: Sequence[Mapping[str, int]]) -> dict[str, int]:
        """How much of each kind was replaced in what left, of what was *found* in each text."""
        counts = Counter[str]()
        for at, times in self.taken.items():
            counts.update({kind: count * times for kind, count in found[at].items()})
        return dict(sorted(counts.items()))

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
                puts.append(self._parts(members, key, place, at, depth))
            at += len(members)
        return lambda done: [item for put in puts for item in put(done)]

    def _parts(
        self, parts: Sequence[Mapping[str, Any]], key: str, place: str, at: int, depth: int
    ) -> Put:
        """Texts that follow each other, which are one where something goes on in the next."""
        puts = [
            self._object(part, key, f"{place}/{index}", depth + 1)
            for index, part in enumerate(parts, at)
        ]
        whole = self._text("".join(part["text"] for part in parts), "text", f"{place}/{at}", depth)

        def put(done: Texts) -> list[Any]:
            apart, as_one = done.aside(), done.aside()
            made, joined = [put(apart) for put in puts], whole(as_one)
            is_cut = "".join(part["text"] for part in made) != joined
            done.taken.update((as_one if is_cut else apart).taken)
            return [{**made[0], "text": joined}] if is_cut else made

        return put

    # ------------------------------------------------------------------------------------ texts

    def _add(self, text: str, place: str) -> Callable[[Texts], str]:
        if text.isascii() and not any(map(str.isalnum, text)):  # others may be letters in disguise
            return _always(text)
        at = self._known.setdefault(text, len(self.texts))
        if at == len(self.texts):
            self.texts.append(text)
            self.places.append(place)
        return lambda done: done.take(at)

    def _text(self, text: str, key: str, place: str, depth: int) -> Put:
        if text in WORDS.get(key, ()):
            return _always(text)
        if key in PROPERTY_LISTS:
            return self._key(text, place)
        check_text(text, place)
        if key == "arguments" or "\\" in text or _TIMED.search(text):
            inner = json_in(text)
            if inner is not None:
                return self._json(text, inner, key, place, depth)
        return self._said_of(key, text, place)

    def _said_of(self, key: str, text: str, place: str) -> Callable[[Texts], str]:
        """*text* with its name before it, which may say what it is."""
        is_own = key not in PROTOCOL or self._nested > 0
        if not (is_own and key) or len(text) > SHORT or "\n" in text:
            return self._add(text, place)
        name = self._add(_spaced(key), place)
        put = self._add(f"{_spaced(key)}: {text}", place)

        def without(done: Texts) -> str:
            said = put(done)
            for before in (_spaced(key), name(done.aside())):
                if said.startswith(f"{before}: "):
                    return said[len(before) + 2 :]
            return said

        return without

    def _json(self, text: str, value: Any, key: str, place: str, depth: int) -> Put:
        """A text that is JSON: escapes in it hide nothing, nor does what is given twice."""
        is_all = says_all(text)
        self._nested += 1
        inner = self._any(value, key, place, depth + 1)
        self._nested -= 1

        def put(done: Texts) -> str:
            said = inner(done)
            return text if is_all and said == value else to_json(said).decode()

        return put

    def _number(self, value: float, key: str, place: str) -> Put:
        if not is_finite(value):
            raise refused("a number that is too large to be looked at", place)
        written = all_digits(value)
        digits = sum(map(str.isdigit, written))
        if digits < TELLING or (digits <= USUAL and self._is_setting(key, place)):
            return _always(value)
        put = self._said_of(key, written, place)
        return lambda done: value if (said := put(done)) == written else said

    def _is_setting(self, key: str, place: str) -> bool:
        """Whether numbers that are called *key* are the API's own there."""
        return key in NUMBERS and not self._nested and not place.startswith("/metadata")

    def _key(self, name: str, place: str) -> Callable[[Texts], str]:
        """The name of a field, which may be one of a person."""
        if name in PROTOCOL:
            return _always(name)
        plain, apart = self._add(name, place), self._add(_spaced(name), place)

        def put(done: Texts) -> str:
            seen = done.aside()
            is_apart = plain(seen) == name and apart(seen) != _spaced(name)
            return apart(done) if is_apart else plain(done)

        return put

    def _name(self, name: str, place: str) -> Put:
        """The name of a function, which must stay one word."""
        put = self._key(name, place)

        def word(done: Texts) -> str:
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
    """Of which kind a part is that says a text."""
    if isinstance(value, dict):
        kind, text = value.get("type"), value.get("text")
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
