"""How much memory a swap needs and frees: as it was measured, else as the catalog says."""

from __future__ import annotations

from ..contracts.model_hosts import HostState
from .catalog import CatalogModel
from .history import SwapHistory
from .memory import GIB, lacking, no_room
from .models import Failure, Memory, Swap
from .settings import SwapSettings

__all__ = ["Room"]


class Room:
    """Judges whether there is room for a model, now and after another one is gone."""

    def __init__(self, history: SwapHistory, settings: SwapSettings) -> None:
        self._history = history
        self._margin = int(settings.memory_margin_gib * GIB)
        self._tolerance = int(settings.memory_tolerance_gib * GIB)

    async def note(self, swap: Swap, previous: CatalogModel | None, state: HostState) -> None:
        """Write into *swap* what is available, and what is known to come back.

        An estimate does not count here: what does not come back by it halts nothing.
        """
        known = await self._history.measured(previous.name) if previous else {}
        swap.memory = {
            name: Memory(
                before=node.memory_available,
                comes_back=known.get(name) if node.container else None,
            )
            for name, node in state.nodes.items()
        }

    async def refusal(
        self, swap: Swap, entry: CatalogModel, previous: CatalogModel | None, state: HostState
    ) -> Failure | None:
        """Why *entry* cannot be loaded once *previous* is gone, if it is not known to fit."""
        if full := no_room(state, entry.nodes):
            return full
        need = await self._need(entry)
        if need is None:
            message = (
                f"it is not known how much memory {entry.name} needs: say memory_gib, or force"
            )
            return Failure(code="memory-unknown", message=message)
        freed = {name: self._freed(name, swap, previous, state) for name in state.nodes}
        return lacking(state, need, freed, self._margin, entry.nodes)

    def _freed(self, name: str, swap: Swap, previous: CatalogModel | None, state: HostState) -> int:
        """What will come back on a machine: at most what is in use, where nobody measured it."""
        node = state.nodes[name]
        if node.container is None:
            return 0
        if (known := swap.memory[name].comes_back) is not None:
            return known
        in_use = node.memory_total - node.memory_available
        said = previous.memory_gib if previous else None
        return min(in_use, int(said * GIB)) if said is not None else in_use

    async def wanted(self, swap: Swap, entry: CatalogModel | None) -> dict[str, int]:
        """What has to be available on each machine before anything is loaded there."""
        wanted = {}
        for name, memory in swap.memory.items():
            was = memory.empty if swap.back else memory.before
            back = 0 if swap.back else memory.comes_back or 0
            wanted[name] = max(0, (was or 0) + back - self._tolerance)
        need = await self._need(entry) if entry is not None and not swap.force else None
        if entry is not None and need is not None:
            for name in [*wanted][: entry.nodes]:
                wanted[name] = max(wanted[name], need + self._margin)
        return wanted

    async def _need(self, entry: CatalogModel) -> int | None:
        """What *entry* takes of each machine."""
        if entry.memory_gib is not None:
            return int(entry.memory_gib * GIB)
        return max((await self._history.measured(entry.name)).values(), default=None)
