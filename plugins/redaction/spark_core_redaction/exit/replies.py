"""Replies put right: placeholders become what they stand for, in whole answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..restoring import Restorer
from .json_strings import JsonStrings
from .words import WORDS

__all__ = ["Channel", "Replies"]

#: What restores one text that comes in pieces.
Channel = Restorer | JsonStrings

#: Pieces of words, each with its likelihood: no placeholder is whole there.
_PIECES: Final = frozenset({"logprobs", "top_logprobs"})

#: What is JSON in itself, whatever else was asked for.
_ARGUMENTS: Final = frozenset({"arguments"})

#: Where the answer itself stands, which is JSON where that was asked for.
_CONTENT: Final = frozenset({"content", "text"})


class Replies:
    """Restores with what *restorer* knows; *names* are functions', as they left and as they were.

    With *json* the model was asked to answer with JSON.
    """

    def __init__(self, restorer: Restorer, names: Mapping[str, str], *, json: bool) -> None:
        self._restorer = restorer
        self._names = names
        self._json = _ARGUMENTS | _CONTENT if json else _ARGUMENTS
        self._all: list[Channel] = []
        self._plain = self.channel("")
        self._as_json = self.channel("arguments")

    def channel(self, field: str) -> Channel:
        """What restores a text of *field* that comes in pieces."""
        is_json = field in self._json
        channel = JsonStrings(self._restorer) if is_json else self._restorer.another()
        self._all.append(channel)
        return channel

    @property
    def unknown(self) -> int:
        """How many placeholders there were so far that stand for nothing."""
        return len({mark for channel in self._all for mark in channel.unknown})

    def restored(self, value: Any, field: str = "") -> Any:
        """*value*, which stands in *field*, with every text in it restored."""
        if isinstance(value, str):
            return self.text(value, field)
        if isinstance(value, list):
            return [self.restored(item, field) for item in value]
        if isinstance(value, dict) and field not in _PIECES:
            return {
                self.text(name, "name"): self.restored(inner, name) for name, inner in value.items()
            }
        return value

    def text(self, text: str, field: str) -> str:
        """The whole *text* of *field*, restored."""
        if field == "name" and text in self._names:
            return self._names[text]
        if text in WORDS.get(field, ()):
            return text
        channel = self._as_json if field in self._json else self._plain
        return channel.restore(text)
