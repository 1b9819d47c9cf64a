"""Lists of words, each in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["words"]


def words(name: str) -> Sequence[str]:
    """The words of the list called *name*, in its order."""
    return Path(__file__).with_name(f"{name}.txt").read_text("utf-8").split()
