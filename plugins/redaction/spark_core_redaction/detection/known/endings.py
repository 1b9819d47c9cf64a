"""What languages hang on names, and what a name was before that."""

from __future__ import annotations

from collections.abc import Iterator

from ..letters import fold
from ..words import words

__all__ = ["LONGEST", "stems"]


#: What may have stood in place of an ending: ``Evou`` was ``Eva``.
def _table() -> dict[str, tuple[str, ...]]:
    table: dict[str, dict[str, None]] = {}
    for entry in words("endings"):
        ending, _, before = entry.partition(":")
        for was in (before or "-").split(","):
            table.setdefault(fold(ending), {})[fold(was.strip("-"))] = None
    return {ending: tuple(before) for ending, before in table.items()}


_TABLE = _table()

#: Letters that Arabic and Hebrew join to the begin of a name: and, in, to, as, the.
_JOINED = frozenset(map(fold, "وفبلكוהבלמשכ"))

LONGEST = max(map(len, _TABLE))


#: Endings that names of three letters have, too; ``Maybe`` is no form of ``May``.
_SHORT = frozenset(map(fold, words("short_endings")))


def _may_have(ending: str, length: int) -> bool:
    """Whether a name of *length* letters may have *ending*."""
    return length > 3 or (length == 3 and ending in _SHORT)


def stems(word: str) -> Iterator[str]:
    """What the folded *word* may be a form of, without itself."""
    size = len(word)
    for length in range(1, min(LONGEST, size - 2) + 1):
        stem = word[: size - length]
        for was in _TABLE.get(word[size - length :], ()):
            if _may_have(word[size - length :], size - length + len(was)):
                yield stem + was
    if size > 3 and word[0] in _JOINED:
        yield word[1:]
        yield from (word[cut:] for cut in (2, 3) if size > cut + 2)
