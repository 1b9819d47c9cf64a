"""The verdict that a text must not leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spark_core.errors import InvalidRequest, Problem

__all__ = ["Withheld"]


class Withheld(InvalidRequest):
    """A text does not leave: something private is left in it, or nobody could say that it is not.

    ``problems`` tell where and of which kind, never what; ``counts`` how much of each kind.
    """

    def __init__(
        self, message: str, *, problems: Sequence[Problem] = (), counts: Mapping[str, int] = {}
    ) -> None:
        super().__init__(message, problems=problems, hint="nothing was sent or given out")
        self.counts = dict(counts)
