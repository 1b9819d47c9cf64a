"""Looks up what has been indexed in the order in which a source is read again.

That is mostly the order in which it was written down, so the next rows of the ledger are mostly
those that are wanted: to read them one after the other takes a fraction of looking each of them
up in an index as large as a million records make it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .ledger import Entry, Key, Ledger

__all__ = ["Following"]


class Following:
    """The entries of one build, for whoever asks for them about in their order.

    One that is still to be made, whose *generation* is empty, has none.
    """

    def __init__(self, ledger: Ledger, generation: str) -> None:
        self._ledger = ledger
        self._generation = generation
        self._row = 0

    async def entries(self, kind: str, keys: Sequence[Key]) -> Mapping[Key, Entry]:
        """Those of the records called *keys* that have been indexed, and perhaps others."""
        if not self._generation:
            return {}
        found = await self._ledger.behind(self._generation, kind, self._row, len(keys))
        if missing := [key for key in keys if key not in found]:
            found |= await self._ledger.entries(self._generation, kind, missing)
        last = next((found[key] for key in reversed(keys) if key in found), None)
        self._row = last.row if last else self._row
        return found
