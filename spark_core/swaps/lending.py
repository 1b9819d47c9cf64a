"""Takes the model off the GPU for another program, and brings it back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ..errors import BackendError
from .driving import Swaps
from .models import Outcome, Swap

__all__ = ["Loan", "open_loan"]

#: Who begins these swaps, as the receipts name them.
CALLER: Final = "gpu loan"

#: Swaps that are looked through for the one that took the model off.
FAR: Final = 200


class Loan:
    """:class:`~spark_core.contracts.gpu.GpuRelease`: a swap to nothing, and one back."""

    def __init__(self, swaps: Swaps) -> None:
        self._swaps = swaps

    async def is_free(self) -> bool:
        """Whether no model is on it, nor is one being loaded, as far as the swaps know."""
        if await self._swaps.history.running(self._host) is not None:
            return False
        return left_by(await self._changes()) is None

    async def release(self, reason: str) -> str:
        """Take the model off, and return when the memory is free; gives the swap's id."""
        await self._settle()
        changes = await self._changes()
        if changes and _lent(changes[0]):
            return changes[0].id
        return await self._swap(None, reason)

    async def restore(self) -> str | None:
        """Bring back what was taken off, unless another model was loaded since."""
        await self._settle()
        changes = await self._changes()
        if left_by(changes) is not None:
            return changes[0].id if changes[0].caller == CALLER else None
        model = taken_off(changes)
        return await self._swap(model, "the reservation has ended") if model else None

    @property
    def _host(self) -> str:
        return self._swaps.parts.host.name

    async def _settle(self) -> None:
        """Wait for the swap that runs: only then is it known what is loaded."""
        if running := await self._swaps.history.running(self._host):
            await self._swaps.ended(running.id)

    async def _changes(self) -> Sequence[Swap]:
        """The swaps that touched the machines, the newest first."""
        untouched = (None, Outcome.REFUSED, Outcome.CANCELLED)
        newest = await self._swaps.history.newest(limit=FAR, host=self._host)
        return [swap for swap in newest if swap.outcome not in untouched]

    async def _swap(self, model: str | None, reason: str) -> str:
        """The id of a swap to *model*, which succeeded.

        :raises BackendError: it did not.
        """
        begun = await self._swaps.begin(model, caller=CALLER, guarded=False, reason=reason)
        ended = await self._swaps.ended(begun.id)
        if ended.outcome is not Outcome.READY:
            why = ended.failure.message if ended.failure else str(ended.outcome)
            raise BackendError(f"the GPU could not be handed over: {why}")
        return ended.id


def _lent(swap: Swap) -> bool:
    return swap.caller == CALLER and swap.model is None and swap.outcome is Outcome.READY


def left_by(changes: Sequence[Swap]) -> str | None:
    """The model that is loaded after *changes*, the newest first."""
    if not changes:
        return None
    newest = changes[0]
    known = {Outcome.READY: newest.model, Outcome.ROLLED_BACK: newest.previous}
    return known.get(newest.outcome, newest.serving) if newest.outcome else None


def taken_off(changes: Sequence[Swap]) -> str | None:
    """The model that was taken off for a loan, or could not be brought back after it.

    A loan may find the machines empty since the loan before it took the model off; but what
    somebody else unloaded is not brought back.
    """
    found_empty = False
    for number, swap in enumerate(changes):
        if swap.caller == CALLER:
            if model := swap.model or swap.previous:
                return model
            found_empty = True
        elif found_empty and left_by(changes[number:]) is not None:
            return None
    return None


@asynccontextmanager
async def open_loan(swaps: Swaps) -> AsyncIterator[Loan]:
    """What takes the model off the GPU for another program.

    :raises NotConfigured: there is no model host, or no backend in front of it.
    """
    _ = swaps.parts  # told now, and not when the GPU is already promised to somebody
    yield Loan(swaps)
