"""Written forms: what was replaced, letter for letter, and how it is written again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

__all__ = ["Form", "JsonText", "Mention", "json_escaped", "mention"]


class JsonText(str):
    """A text that is JSON itself, such as the arguments of a tool call."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which something was written.

    ``text`` is what it says. ``raw`` is how it stood in a JSON text, where that is not how
    :func:`json_escaped` would write it, else empty.
    """

    text: str
    raw: str = ""

    @property
    def json(self) -> str:
        """As it is written within a string of JSON."""
        return self.raw or json_escaped(self.text)


@dataclass(frozen=True, slots=True)
class Mention:
    """Something that stands in a text: of which kind, what it is, and how it is written.

    Two mentions of the same ``kind`` and ``identity`` are the same thing.
    """

    kind: str
    identity: str
    part: str
    form: Form


def mention(kind: str, identity: str, part: str, written: str, *, is_json: bool) -> Mention:
    """The mention that is *written* so, with kind and part as placeholders can hold them."""
    if not re.fullmatch("[A-Z]{1,24}(?:_[A-Z]{1,24}){0,2}", kind):
        kind = "PRIVATE"
    part = re.sub("[^A-Z]", "", part.upper())[:24]
    return Mention(kind, identity, part, _form(written, is_json=is_json))


def _form(written: str, *, is_json: bool) -> Form:
    if not is_json:
        return Form(written)
    try:
        text = json.loads(f'"{written}"')
    except ValueError:  # a piece of an escape, or no JSON after all
        return Form(written, written)
    return Form(text, "" if json_escaped(text) == written else written)


def json_escaped(text: str) -> str:
    """*text* as it is written within a string of JSON, without more escapes than it needs."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
