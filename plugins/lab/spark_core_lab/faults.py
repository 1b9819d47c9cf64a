"""What can go wrong on demand, and what of it is to go wrong next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["KINDS", "Cut", "Fault", "Faults", "Kind", "spoil"]

Kind = Literal[
    "refuse",
    "hang",
    "slow_first_byte",
    "cut_mid_stream",
    "half_event",
    "503",
    "500",
    "html",
    "wrong_dimension",
    "nan",
    "slow_body",
]

KINDS: Final[tuple[str, ...]] = get_args(Kind)

#: How long what is slow takes where nobody said it, in seconds.
PAUSES: Final = {"slow_first_byte": 1.0, "slow_body": 0.1}


class Fault(BaseModel):
    """Something that is to go wrong.

    Of the requests that it is for, the next ``times`` fail; without it, all until it is
    cleared. It is for the requests with that ``path``; without it, for all that ask for work
    (``POST``), so that a probe does not use it up; ``*`` is for everything.

    - ``refuse``: nobody listens at the port for ``seconds``, and open connections are reset.
    - ``hang``: the request is read and not answered; after ``seconds``, if given, it is.
    - ``slow_first_byte``: nothing is sent for ``seconds``.
    - ``slow_body``: ``seconds`` lie between any two pieces of the answer.
    - ``cut_mid_stream``: after ``after`` pieces the connection is closed.
    - ``half_event``: after ``after`` pieces and half of another the answer ends, as if whole.
    - ``503``, ``500``: the runtime's own error; with ``seconds``, as its ``Retry-After``.
    - ``html``: a web page, with status 200.
    - ``wrong_dimension``, ``nan``: in the vectors, or for ``nan`` also in the scores.
    """

    model_config = ConfigDict(extra="forbid")

    fault: Kind
    times: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, ge=0)
    path: str | None = None
    after: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _who_refuses_knows_no_requests(self) -> Fault:
        if self.fault == "refuse" and (self.times or self.path):
            raise ValueError("refuse is for a number of seconds, not for requests")
        return self

    @property
    def pause(self) -> float:
        """How long what is slow takes, in seconds."""
        return PAUSES.get(self.fault, 0.0) if self.seconds is None else self.seconds

    def is_for(self, method: str, path: str) -> bool:
        """Whether it is for such a request."""
        if self.fault == "refuse":
            return False
        return method == "POST" if self.path is None else self.path in (path, "*")


class Faults:
    """What is to go wrong: the first that is for a request is what the request gets.

    *refuse* is called to begin with refusing, with the number of seconds or None for ever, and
    *listen* to end it.
    """

    def __init__(
        self,
        refuse: Callable[[float | None], None] = lambda seconds: None,
        listen: Callable[[], None] = lambda: None,
    ) -> None:
        self._refuse, self._listen = refuse, listen
        self._pending: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._pending)

    def set(self, fault: Kind, **details: Any) -> None:
        """Let something go wrong, after what was set before; see :class:`Fault`."""
        self.add(Fault(fault=fault, **details))

    def add(self, fault: Fault) -> None:
        """Let *fault* happen, after what was set before."""
        if fault.fault == "refuse":
            self._refuse(fault.seconds)
        else:
            self._pending.append(fault.model_copy())

    def clear(self) -> None:
        """From here on nothing goes wrong. What already hangs keeps hanging."""
        self._pending.clear()
        self._listen()

    def take(self, method: str, path: str) -> Fault | None:
        """What is to go wrong with such a request, which uses it up once."""
        for fault in self._pending:
            if fault.is_for(method, path):
                self._use(fault)
                return fault
        return None

    def _use(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                self._pending.remove(fault)


class Cut(Exception):
    """The connection is to be closed here."""


async def spoil(pieces: AsyncIterator[bytes], fault: Fault) -> AsyncGenerator[bytes, None]:
    """*pieces* as far and as fast as *fault* lets them through.

    :raises Cut: the connection is to be closed.
    """
    ends = fault.fault in ("cut_mid_stream", "half_event")
    sent = 0
    async for piece in pieces:
        if ends and sent == fault.after:
            if fault.fault == "half_event":
                yield piece[: len(piece) // 2]
            break
        if fault.fault == "slow_body" and sent:
            await asyncio.sleep(fault.pause)
        yield piece
        sent += 1
    if fault.fault == "cut_mid_stream":
        raise Cut
