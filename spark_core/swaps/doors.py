"""The door of a model host's backend: the gateway's, for all processes."""

from __future__ import annotations

import time
from typing import Literal

from ..gateway.admission import Admission
from .models import Counts

__all__ = ["GatewayDoor"]


class GatewayDoor:
    """:class:`~spark_core.swaps.machine.Door` of the backend called *name*."""

    def __init__(
        self, admission: Admission, name: str, arriving: Literal["wait", "refuse"]
    ) -> None:
        self._admission = admission
        self._name = name
        self._refuse = arriving == "refuse"

    def close(self, seconds: float, expected: float = 0.0) -> None:
        """Let nobody through for *seconds*; it will take about *expected* altogether."""
        now = time.time()
        self._admission.close(self._name, now + seconds, now + expected, self._refuse)

    def open(self) -> None:
        """Let everybody through who waits."""
        self._admission.open(self._name)

    def counts(self) -> Counts:
        """How many were ever queued, refused and cut off here, and are in flight now.

        Those that wait now are among the queued: they will be let in.
        """
        door = self._admission.door(self._name)
        waiting = next(p.waiting for p in self._admission.states() if p.name == self._name)
        return Counts(
            drained=self._admission.in_flight(self._name),
            queued=door.queued + waiting,
            refused=door.refused,
            lost=door.aborted,
        )

    async def drained(self, seconds: float) -> bool:
        """Wait until nothing is in flight; False where that takes longer than *seconds*."""
        return await self._admission.drained(self._name, seconds)
