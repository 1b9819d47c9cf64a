"""How much of an answer fits where tokens are counted, as in the context of a model.

A token is taken for four bytes of UTF-8, as it is in English for most tokenizers; they count a
text in another script as fewer tokens than this does, or as about as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

__all__ = ["Costly", "fitting", "tokens"]

#: Bytes of UTF-8 in a token.
BYTES = 4

#: A text is not cut to fewer characters than these.
SHORTEST = 80

#: What stands for the rest of a text.
MORE = " ..."


class Costly(Protocol):
    """A part of an answer; its text is what can be cut."""

    text: str

    def model_dump_json(self) -> str:
        """All of it, as it is sent."""
        ...

    def model_copy(self, *, update: dict[str, object]) -> Self:
        """The same with another text."""
        ...


P = TypeVar("P", bound=Costly)


def tokens(part: Costly) -> int:
    """About how many tokens *part* is as JSON."""
    return -(-len(part.model_dump_json().encode()) // BYTES)


def fitting(parts: Sequence[P], most: int) -> list[P]:
    """The first of *parts* that are at most *most* tokens; the last of them may be cut.

    The first one always comes, cut as far as it may be.
    """
    kept: list[P] = []
    left = most
    for part in parts:
        if (cost := tokens(part)) > left:
            shorter = _cut(part, cost - left)
            if not kept or tokens(shorter) <= left:
                kept.append(shorter)
            break
        kept.append(part)
        left -= cost
    return kept


def _cut(part: P, excess: int) -> P:
    """*part* with a text shorter by *excess* tokens, but not shorter than may be."""
    room = len(part.text.encode()) - excess * BYTES - len(MORE)
    text = part.text.encode()[: max(room, 0)].decode(errors="ignore")
    text = max(text, part.text[:SHORTEST], key=len)
    return part.model_copy(update={"text": text + MORE}) if len(text) < len(part.text) else part
