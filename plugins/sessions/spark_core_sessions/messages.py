"""What a record of a session says: a message stands in it, or is it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Turn", "blocks_of", "text_of", "turn_of"]

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Turn:
    """What somebody said: ``role`` is ``user`` or ``assistant``."""

    role: str
    text: str


def turn_of(record: Record) -> Turn | None:
    """The turn that *record* is, None where nothing is said in it."""
    role = _message(record).get("role") or record.get("type")
    text = text_of(record).strip()
    return Turn(role, text) if role in ("user", "assistant") and text else None


def text_of(record: Record) -> str:
    """All text of *record*'s message."""
    content = _message(record).get("content")
    if isinstance(content, str):
        return content
    texts = (block.get("text") for block in blocks_of(record) if block.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))


def blocks_of(record: Record) -> Iterator[Record]:
    """The blocks that the content of *record*'s message is made of, if it is."""
    content = _message(record).get("content")
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict):
            yield block


def _message(record: Record) -> Record:
    message = record.get("message")
    return message if isinstance(message, dict) else record
