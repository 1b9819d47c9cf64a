"""What a stand-in is asked and what it answers, apart from how HTTP carries it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .faults import Fault

__all__ = ["STAND_IN", "Answer", "Call", "Handler", "Refused", "Stream", "event", "in_json"]

#: How a stand-in says, wherever it can, that it is none of the real ones.
STAND_IN: Final = "spark-lab stand-in"


@dataclass(frozen=True)
class Call:
    """A request. ``path`` is without the query; ``fault`` is what is to go wrong with it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    form: Mapping[str, list[bytes]] = field(default_factory=dict)
    fault: Fault | None = None

    def fails(self, kind: str) -> bool:
        """Whether what is to go wrong is *kind*."""
        return self.fault is not None and self.fault.fault == kind


@dataclass(frozen=True)
class Answer:
    """An answer that is known before it is sent."""

    body: bytes = b""
    status: int = 200
    type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """An answer in pieces, each of which is sent as soon as it is there."""

    pieces: AsyncGenerator[bytes, None]
    type: str = "text/event-stream; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable["Answer | Stream"]]


class Refused(Exception):
    """A request cannot be answered; *answer* says why, as the runtime would."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def in_json(value: Any, status: int = 200) -> Answer:
    """*value* as an answer."""
    return Answer(json.dumps(value).encode(), status)


def event(value: Mapping[str, Any], name: str = "") -> bytes:
    """*value* as a server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()
