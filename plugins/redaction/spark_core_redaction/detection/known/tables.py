"""Tables that readers may hold while they are changed: a change makes another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Leads", "Owners", "Table", "each"]

K = TypeVar("K")
V = TypeVar("V")

#: So many changes are laid over a table before another one is made of both.
LAID_OVER = 2000

#: Of a name that more people share nobody need know whose it is.
SHARED = 50

#: One entity, or all that share what leads to them.
Owners: TypeAlias = "str | tuple[str, ...]"


def each(owners: Owners | None) -> tuple[str, ...]:
    """All of *owners*."""
    if owners is None:
        return ()
    return (owners,) if isinstance(owners, str) else owners


class Table(Generic[K, V]):
    """A mapping that never changes."""

    __slots__ = ("_below", "_over", "get")

    #: The value of a key, ``None`` where there is none.
    get: Callable[[K], V | None]

    def __init__(
        self, below: Mapping[K, V | None] | None = None, over: Mapping[K, V | None] | None = None
    ) -> None:
        self._below = {} if below is None else below
        self._over = {} if over is None else over
        self.get = self._get if self._over else self._below.get

    def __len__(self) -> int:
        """How many keys there are, at most."""
        return len(self._below) + len(self._over)

    def _get(self, key: K) -> V | None:
        return self._over[key] if key in self._over else self._below.get(key)

    def changed(self, changes: dict[K, V | None]) -> Table[K, V]:
        """One with *changes*, ``None`` for what is gone. This takes their time, not the table's."""
        if not len(self):
            return Table(changes)
        over = {**self._over, **changes}
        if len(over) <= LAID_OVER:
            return Table(self._below, over)
        whole = {**self._below, **over}
        return Table({key: value for key, value in whole.items() if value is not None})


class Leads(Generic[K]):
    """Keys and whom they lead to, counted: what is taken away once may still be there."""

    def __init__(self) -> None:
        self._table: Table[K, Owners] = Table()
        self._changes: dict[K, Owners | None] = {}
        self._again: dict[tuple[K, str], int] = {}

    def table(self) -> Table[K, Owners]:
        """What leads to whom now, for ever."""
        if self._changes:
            self._table, self._changes = self._table.changed(self._changes), {}
        return self._table

    def add(self, leads: Iterable[tuple[K, str]]) -> None:
        """Let each key lead to its owner, once more."""
        changes = self._changes
        before = self._table.get
        leads = list(leads)
        fresh = dict(leads)
        if len(fresh) == len(leads) and not len(self._table) and changes.keys().isdisjoint(fresh):
            changes.update(fresh)  # in one go: at first nearly all are so
            return
        for key, owner in leads:
            if key in changes:
                self._join(key, changes[key], owner)
            elif (owners := before(key)) is None:
                changes[key] = owner
            else:
                self._join(key, owners, owner)

    def _join(self, key: K, owners: Owners | None, owner: str) -> None:
        if owners is None:
            self._changes[key] = owner
        elif owner == owners or (not isinstance(owners, str) and owner in owners):
            self._again[key, owner] = self._again.get((key, owner), 0) + 1
        elif isinstance(owners, str):
            self._changes[key] = (owners, owner)
        elif len(owners) < SHARED:
            self._changes[key] = (*owners, owner)

    def remove(self, leads: Iterable[tuple[K, str]]) -> None:
        """Take each lead away once. Keys that had too many owners to count keep theirs."""
        for key, owner in leads:
            again = self._again.pop((key, owner), 0)
            if again > 1:
                self._again[key, owner] = again - 1
            elif not again:
                self._part(key, owner)

    def _part(self, key: K, owner: str) -> None:
        owners = each(self._changes[key] if key in self._changes else self._table.get(key))
        if len(owners) < SHARED:
            rest = tuple(other for other in owners if other != owner)
            self._changes[key] = rest if len(rest) > 1 else next(iter(rest), None)
