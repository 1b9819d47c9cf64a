"""Sends an answer on in the moment it comes, while its client reads.

Waking a task for each piece, which then sends it, takes longer than sending it. So the coroutine
that sends is run right where the piece comes in. It hardly ever has to wait; where it does, the
task waits for the rest of it, and what comes in the meantime is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any, Final

from spark_core.gateway.connection import Connection

__all__ = ["CutOff", "Forwarding"]

Send = Callable[[dict[str, Any]], Awaitable[None]]


#: Bytes at an answer's end that tell whether it ends with a whole event.
END: Final = 4


class CutOff(BaseException):
    """An answer ends in its middle, and its client must not see a clean end."""


class Forwarding:
    """Sends the body of an answer with *send*; ``last`` is how it ends so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._rest: Awaitable[None] | None = None
        self.last = b""

    async def run(self, answer: Connection) -> None:
        """Send all of it but the end.

        :raises SparkError: it does not come.
        """
        while not await answer.pour(self._take):
            assert self._rest is not None
            await self._rest

    def _take(self, piece: bytes) -> bool:
        """Send *piece*; whether that is done."""
        self.last = piece if len(piece) >= END else self.last[-END:] + piece
        event = {"type": "http.response.body", "body": piece, "more_body": True}
        steps: Generator[Any, None, None] = self._send(event).__await__()
        try:
            waits_for = next(steps)
        except StopIteration:
            return True
        except Exception as error:
            self._rest = _failed(error)
        else:
            self._rest = _rest(steps, waits_for)
        return False


@coroutine
def _rest(steps: Generator[Any, None, None], waits_for: object) -> Generator[Any, None, None]:
    """What is left of *steps*, which stopped at something that they wait for."""
    yield waits_for
    yield from steps


async def _failed(error: Exception) -> None:
    raise error
