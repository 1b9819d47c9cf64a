"""Awaiting something only as far as it may go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Stepwise"]

T = TypeVar("T")


class Stepwise(Generic[T]):
    """Awaits *work*, and asks *may* before each of its steps; it is cancelled where that says no.

    A process that was put to sleep wakes up with everything due at once. What cancels is then
    one thing among many, and may come last: so nothing of *work* goes before it.
    """

    def __init__(self, work: Coroutine[Any, Any, T], may: Callable[[], bool]) -> None:
        self._work = work
        self._may = may

    def __await__(self) -> Generator[Any, Any, T]:
        """Awaiting it gives what the work gives."""
        try:
            sent: Any = None
            failure: BaseException | None = None
            while True:
                if failure is None and not self._may():
                    failure = asyncio.CancelledError()
                try:
                    step = self._work.send(sent) if failure is None else self._work.throw(failure)
                except StopIteration as ended:
                    result: T = ended.value
                    return result
                sent = failure = None
                try:
                    sent = yield step
                except BaseException as error:
                    failure = error
        finally:
            self._work.close()
