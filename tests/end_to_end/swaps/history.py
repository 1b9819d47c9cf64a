"""What programs asked of a server and what they were told, judged by the rules of sharing a GPU.

Whether a reservation held is known only as far as requests tell: *surely* between the answer
that gave it and the earliest moment at which it may have ended, *perhaps* a little longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

__all__ = ["Asked", "Event", "Happened", "Held", "Row", "violations"]

#: Seconds by which the clocks of two processes of one machine may differ.
SLACK = 0.02

What = Literal["acquire", "renew", "release", "force", "swap"]


@dataclass(frozen=True)
class Asked:
    """A request, from ``start`` to ``end`` by the wall clock, in seconds.

    ``status`` is None where no answer came: whether it was carried out is not known. ``token``
    is what was shown, or what was given; ``expires`` when the reservation was said to end.
    """

    program: str
    what: What
    start: float
    end: float
    status: int | None
    token: str | None = None
    ttl: float = 0.0
    expires: float = 0.0
    model: str | None = None
    swap: str | None = None


@dataclass(frozen=True)
class Event:
    """What the server wrote down of a swap, in its order; ``back`` is on the way back."""

    swap: str
    text: str
    at: float
    back: bool = False


@dataclass(frozen=True)
class Row:
    """A swap, as it was written down."""

    id: str
    begun: float
    ended: float
    serving: str | None = None


@dataclass
class Happened:
    """All that is known afterwards.

    ``locked`` are the kinds of the lock's events, in order; ``launches`` the ids that the machine
    wrote down; ``containers`` what its journal says: what, and which; ``answers`` the model that
    answers now.
    """

    asked: list[Asked] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    launches: list[str] = field(default_factory=list)
    containers: list[tuple[str, str]] = field(default_factory=list)
    models: frozenset[str | None] = frozenset()
    answers: str | None = None


class Held:
    """A reservation, with all that may have become of it."""

    def __init__(self, given: Asked, asked: Sequence[Asked]) -> None:
        self.token = given.token if given.status == 201 else None
        self._given = given
        mine = [each for each in asked if each.token == self.token and self.token is not None]
        self._renewals = [r for r in mine if r.what == "renew" and r.status in (200, None)]
        self._ends = [r for r in mine if r.what == "release" and r.status in (204, None)]
        self._ends += [r for r in asked if r.what == "force" and r.status in (204, None)]
        self._ends = [r for r in self._ends if r.end > given.start]

    def surely(self, start: float, end: float) -> bool:
        """Whether it held during all of that time."""
        if self.token is None or start < self._given.end or end >= self._earliest_end:
            return False
        return end < self._first_expiry(start, end) - SLACK

    def perhaps(self, start: float, end: float) -> bool:
        """Whether it may have held at some moment of that time."""
        return self._given.start <= end + SLACK and start <= self._latest_end + SLACK

    @cached_property
    def _earliest_end(self) -> float:
        """When somebody may first have ended it."""
        return min((r.start for r in self._ends), default=math.inf) - SLACK

    @cached_property
    def _latest_end(self) -> float:
        """When it was over in any case: it ran out, or its holder or somebody else ended it."""
        ran_out = max(r.expires if r.status in (200, 201) else r.end + r.ttl for r in self._terms)
        ended = [r.end for r in self._ends if r.status == 204 and self._was_ended_by(r)]
        return min([ran_out, *ended])

    def _was_ended_by(self, request: Asked) -> bool:
        """Whether it was over after *request*, which ended a reservation."""
        before = request.start - 2 * SLACK
        return request.what == "release" or self.surely(before, before)

    @property
    def _terms(self) -> Sequence[Asked]:
        return self._given, *self._renewals

    def _first_expiry(self, start: float, end: float) -> float:
        """The earliest of the expiries that may have counted at some moment of that time."""
        counted = [r.expires if r.status else r.start + r.ttl for r in self._terms if r.start < end]
        replaced = [r.status == 200 and r.end < start for r in self._terms if r.start < end]
        last = max((at for at, done in enumerate(replaced) if done), default=0)
        return min(counted[last:])


def violations(happened: Happened) -> list[str]:
    """Every rule that was broken, in words."""
    given = [r for r in happened.asked if r.what == "acquire" and r.status in (201, None)]
    held = [Held(each, happened.asked) for each in given]
    tokens = [each.token for each in given if each.status == 201]
    found = [f"a token was given twice: {token}" for token in tokens if tokens.count(token) > 1]
    for each in happened.asked:
        if each.status is not None:
            why = _JUDGES[each.what](each, held, happened)
            found += [f"{reason}: {each}" for reason in why]
    return [*found, *_of_records(happened), *_of_machine(happened)]


# --------------------------------------------------------------------------------- of answers


def _of_swap(r: Asked, held: Sequence[Held], happened: Happened) -> Iterator[str]:
    others = [h for h in held if r.token is None or h.token != r.token]
    mine = [h for h in held if r.token is not None and h.token == r.token]
    blocked = any(h.surely(r.start, r.end) for h in others)
    if r.status not in (202, 403, 404, 409, 423):
        yield "no swap is answered so"
    if r.token is None and r.status == 403:
        yield "forbidden, though no token was shown"
    if r.token is not None and r.status == 423:
        yield "locked, though a token was shown"
    if blocked and r.token is None and r.status != 423:
        yield "a reservation of somebody else was not heeded"
    if r.status == 202 and blocked:
        yield "admitted while somebody else had reserved"
    if r.status == 423 and not any(h.perhaps(r.start, r.end) for h in others):
        yield "locked, and nobody had reserved"
    if r.token is not None:
        yield from _of_token(r, mine, forbidden=r.status == 403)
    if (r.model not in happened.models) != (r.status == 404) and r.status in (202, 404, 409):
        yield "not found, or found, against the catalog"
    if r.status == 409 and not any(s.begun <= r.end and r.start <= s.ended for s in happened.rows):
        yield "a conflict, and no swap ran"


def _of_token(r: Asked, mine: Sequence[Held], *, forbidden: bool) -> Iterator[str]:
    if forbidden and any(h.surely(r.start, r.end) for h in mine):
        yield "the right token was forbidden"
    if not forbidden and not any(h.perhaps(r.start, r.end) for h in mine):
        yield "a token that is worth nothing was not forbidden"


def _of_acquire(r: Asked, held: Sequence[Held], happened: Happened) -> Iterator[str]:
    others = [h for h in held if h.token != r.token]
    if r.status not in (201, 409, 422):
        yield "no reservation is answered so"
    if r.status == 201 and any(h.surely(r.start, r.end) for h in others):
        yield "two had reserved at once"
    if r.status == 409 and not any(h.perhaps(r.start, r.end) for h in held):
        yield "a conflict, and nobody had reserved"
    if (r.status == 422) != (r.ttl < 1):
        yield "its time was in bounds, or was not"


def _of_change(r: Asked, held: Sequence[Held], happened: Happened) -> Iterator[str]:
    mine = [h for h in held if r.token is not None and h.token == r.token]
    if r.status not in (200 if r.what == "renew" else 204, 403, 404):
        yield "no change of a reservation is answered so"
    if r.status == 404:
        if any(h.surely(r.start, r.end) for h in held):
            yield "not found, though somebody had reserved"
    else:
        yield from _of_token(r, mine, forbidden=r.status == 403)
    if r.status == 403 and not any(h.perhaps(r.start, r.end) for h in held):
        yield "forbidden, though nobody had reserved"


def _of_force(r: Asked, held: Sequence[Held], happened: Happened) -> Iterator[str]:
    if r.status not in (204, 404):
        yield "no end by force is answered so"
    if r.status == 204 and not any(h.perhaps(r.start, r.end) for h in held):
        yield "ended by force, though nobody had reserved"
    if r.status == 404 and any(h.surely(r.start, r.end) for h in held):
        yield "not found, though somebody had reserved"


_JUDGES: Mapping[str, Callable[[Asked, Sequence[Held], Happened], Iterator[str]]] = {
    "swap": _of_swap,
    "acquire": _of_acquire,
    "renew": _of_change,
    "release": _of_change,
    "force": _of_force,
}


# ------------------------------------------------------------------------ of what was written


def _of_records(happened: Happened) -> Iterator[str]:
    running: str | None = None
    for event in happened.events:
        if event.text == "admitted" and not event.back:
            if running is not None:
                yield f"two swaps ran at once: {running} and {event.swap}"
            running = event.swap
        elif event.text == "end":
            running = None
        elif event.swap != running:
            yield f"{event.swap} reached {event.text}, and {running} ran"
    ids = {row.id for row in happened.rows}
    told = {r.swap for r in happened.asked if r.what == "swap" and r.status == 202}
    unknown = sum(r.what == "swap" and r.status is None for r in happened.asked)
    if not told <= ids or len(ids - told) > unknown:
        yield f"{len(told)} swaps were promised, and {len(ids)} were written down"
    for before, after in pairwise(happened.locked):
        if (before == "acquired") == (after == "acquired"):
            yield f"a reservation was {after} after one was {before}"


def _of_machine(happened: Happened) -> Iterator[str]:
    launched = [f"{e.swap}{'-back' * e.back}" for e in happened.events if e.text == "launched"]
    if sorted(launched) != sorted(happened.launches):
        yield f"launched by swaps: {sorted(launched)}, on the machine: {sorted(happened.launches)}"
    running: set[str] = set()
    for what, container in happened.containers:
        running = running | {container} if what == "begins" else running - {container}
        if len(running) > 1:
            yield f"two containers ran at once: {sorted(running)}"
    if happened.rows and happened.rows[-1].serving != happened.answers:
        yield f"{happened.rows[-1].serving} should answer, and {happened.answers} does"
