"""What a pattern says that it has found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

__all__ = ["Hit", "Pattern", "compact"]


class Hit(NamedTuple):
    """``text[start:end]`` is of *kind*; ``value`` is it in the one form in which it is compared."""

    kind: str
    start: int
    end: int
    value: str
    score: float = 0.9


#: Finds all of one sort in a text, in time that grows with its length alone.
Pattern: TypeAlias = Callable[[str], Iterator[Hit]]


def compact(written: str) -> str:
    """The letters and digits of *written* alone, in capitals."""
    return "".join(filter(str.isalnum, written)).upper()
