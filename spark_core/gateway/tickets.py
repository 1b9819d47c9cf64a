"""For whom a request is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

__all__ = ["Priority", "Spent", "Ticket"]


class Priority(IntEnum):
    """Interactive requests go first: somebody looks at the screen."""

    INTERACTIVE = 0
    BATCH = 1


@dataclass(slots=True)
class Spent:
    """Seconds that requests to backends waited for their turn, and that they took there."""

    queued_s: float = 0.0
    asked_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """For whom a request is made: by this it takes its turn, for at most ``wait_s`` seconds.

    ``headers`` are what backends hear of who asks, such as the request's id. As a need it is
    that of the request which is answered. ``spent`` is what was done for it so far.
    """

    caller: str = ""
    priority: Priority = Priority.INTERACTIVE
    wait_s: float = 60.0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    spent: Spent = field(default_factory=Spent)
