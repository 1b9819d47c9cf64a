"""Restoring: placeholders become what they stand for, in a text or in a stream of pieces."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .forms import Form
from .placeholders import BEGUN, LONGEST, PLACEHOLDER, key_of

__all__ = ["Restorer"]

#: How many characters before a placeholder matter for whether it is one.
_BEFORE = 2


class Restorer:
    """Restores one text that comes in pieces; the pieces may be cut anywhere.

    *forms* are by the keys of their placeholders. With *json* the text is JSON, and values are
    written as its strings hold them. ``unknown`` are the placeholders that stand for nothing, as
    they were written; they are left as they are.
    """

    def __init__(self, forms: Mapping[str, Form], *, json: bool = False) -> None:
        self._forms = forms
        self._json = json
        self._text = ""  # what was not said yet, and what stood before it
        self._said = 0
        self.unknown: list[str] = []

    def another(self, *, json: bool = False) -> Restorer:
        """One for another text with the same placeholders."""
        return Restorer(self._forms, json=json)

    def restore(self, text: str) -> str:
        """All of *text* at once."""
        self._text += text
        return self.finish()

    def feed(self, text: str) -> str:
        """What can be said after *text* came, too: all but what may be a placeholder's begin."""
        self._text += text
        begun = BEGUN.search(self._text, max(self._said, len(self._text) - LONGEST))
        return self._until(begun.start() if begun else len(self._text))

    def finish(self) -> str:
        """What was not said yet. Another text may be fed then."""
        rest = self._until(len(self._text))
        self._text, self._said = "", 0
        return rest

    def _until(self, end: int) -> str:
        pieces = []
        for found in PLACEHOLDER.finditer(self._text, self._said):
            if found.end() > end:
                end = min(end, found.start())
                break
            pieces += [self._text[self._said : found.start()], self._value(found)]
            self._said = found.end()
        if end > self._said:
            pieces.append(self._text[self._said : end])
            self._said = end
        cut = max(0, self._said - _BEFORE)
        self._text, self._said = self._text[cut:], self._said - cut
        return "".join(pieces)

    def _value(self, found: re.Match[str]) -> str:
        key, ending = key_of(found), found["ending"] or ""
        form = self._forms.get(key)
        if form is None and key.endswith("S") and found["exact"] is None:
            # Of PERSON_7_GIVENs the last letter is the sentence's.
            form, ending = self._forms.get(key[:-1]), (found["loose"] or found["bare"])[-1]
        if form is None:
            if found[0] not in self.unknown:
                self.unknown.append(found[0])
            return found[0]
        return (form.json if self._json else form.text) + ending
