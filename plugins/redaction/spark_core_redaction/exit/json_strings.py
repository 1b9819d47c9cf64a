"""JSON that comes in pieces, restored in its strings, so that it stays JSON.

What a string says is read with its escapes undone, and written with those that it needs: a
placeholder is found however a model escaped it, and no value ends the string that it stands in.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic_core import from_json

from ..forms import json_escaped
from ..restoring import Restorer

__all__ = ["JsonStrings"]

#: An escape that is whole: half of a pair is not, as long as the other half may come.
_ESCAPE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|"
    r"\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]"
)
_LONGEST_ESCAPE: Final = 12

_PLAIN: Final = re.compile(r'[^"\\]+')


class JsonStrings:
    """Restores like a :class:`Restorer`, with what *restorer* knows, a text that is JSON."""

    def __init__(self, restorer: Restorer) -> None:
        self._within = restorer.another()
        self._between = restorer.another()
        self._is_within = False
        self._rest = ""

    @property
    def unknown(self) -> list[str]:
        """The placeholders that stand for nothing."""
        return [*self._within.unknown, *self._between.unknown]

    def restore(self, text: str) -> str:
        """All of *text* at once."""
        return self.feed(text) + self.finish()

    def feed(self, text: str) -> str:
        """What can be said after *text* came, too."""
        text, self._rest = self._rest + text, ""
        said: list[str] = []
        at = 0
        while at < len(text):
            if not self._is_within:
                at = self._until_quote(text, at, said)
            elif text[at] == '"':
                said += json_escaped(self._within.finish()), '"'
                self._is_within, at = False, at + 1
            elif (found := _PLAIN.match(text, at) or _ESCAPE.match(text, at)) is not None:
                meant = _meant(found[0])
                said.append(json_escaped(self._within.feed(meant)))
                at = found.end()
            elif len(text) - at < _LONGEST_ESCAPE:
                self._rest = text[at:]  # of an escape that may go on
                break
            else:  # no JSON
                said += json_escaped(self._within.finish()), text[at]
                at += 1
        return "".join(said)

    def _until_quote(self, text: str, at: int, said: list[str]) -> int:
        """Say what stands between strings; where it ends."""
        quote = text.find('"', at)
        if quote < 0:
            said.append(self._between.feed(text[at:]))
            return len(text)
        said += self._between.feed(text[at:quote]), self._between.finish(), '"'
        self._is_within = True
        return quote + 1

    def finish(self) -> str:
        """What was not said yet. Another text may be fed then."""
        rest, self._rest = self._rest, ""
        said = self._between.finish() + json_escaped(self._within.finish()) + rest
        self._is_within = False
        return said


def _meant(text: str) -> str:
    """What *text*, an escape or none, says in a string."""
    if text[0] != "\\":
        return text
    try:
        meant: str = from_json(f'"{text}"')
    except ValueError:  # an escape that JSON does not have, or half a pair
        return text
    return meant
