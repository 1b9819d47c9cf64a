"""Guards: what may forbid that a model is swapped now, such as a reservation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ..references import Referable

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SwapGuard"]


@dataclass(frozen=True)
class SwapGuard:
    """Says whether a swap may begin.

    ``check`` is called with the state's connection, what the caller showed as a token (None
    for nothing), and the time. It raises :class:`~spark_core.errors.Locked` or
    :class:`~spark_core.errors.Forbidden`, or returns. That happens in the very transaction in
    which the swap is admitted, so nothing can be reserved in between; it must be quick.
    """

    name: str
    check: Referable[Callable[[Connection, str | None, datetime], None]]
