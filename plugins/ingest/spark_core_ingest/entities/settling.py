"""Gives groups of records their canonical ids, and keeps these for ever.

An id is made of the key of the record that was the oldest when the entity came to be: first by
the run that first saw it, then in the natural order of keys. From then on it stays with the oldest
of its records. Where entities become one, the older id is kept and the others lead to it; where
one comes apart, its id stays with its oldest record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import tables
from .profiles import Key, natural

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

__all__ = ["Group", "Member", "settle"]


@dataclass(frozen=True, slots=True)
class Member:
    """A record of a group. ``facts`` are kept for joining and parting it later."""

    key: Key
    title: str = ""
    facts: Mapping[str, Any] | None = None


#: Records that are one.
Group = Sequence[Member]


def settle(connection: Connection, groups: Iterable[Group], run: int) -> int:
    """Give each of *groups* its id, and note what has changed; how many records changed.

    All within one transaction: whenever the next one is not reached, no id is lost.
    """
    settling = _Settling(connection, [list(group) for group in groups], run)
    return settling.settle()


def _id_of(key: Key, number: int) -> str:
    named = json.dumps([*key, number] if number else key, ensure_ascii=False)
    return "e" + hashlib.blake2b(named.encode(), digest_size=10).hexdigest()


class _Settling:
    def __init__(self, connection: Connection, groups: list[list[Member]], run: int) -> None:
        self._connection = connection
        self._groups = groups
        self._run = run
        keys = [member.key for group in groups for member in group]
        self._known = tables.member_rows(connection, keys)
        self._since = dict(self._live())
        self._oldest = self._oldest_of(list(self._since))
        self._entities: list[dict[str, Any]] = []
        self._retired: list[tuple[str, str]] = []

    def settle(self) -> int:
        table = tables.members()
        rows = [row for group in self._groups for row in self._changed(group)]
        for number, row in enumerate(rows, start=self._last_change() + 1):
            row["changed"] = number
        tables.upsert(self._connection, tables.entities(), ["id"], self._entities)
        tables.upsert(self._connection, table, ["kind", "record_id"], rows)
        self._retire()
        return len(rows)

    def _changed(self, group: list[Member]) -> list[dict[str, Any]]:
        """The rows of those of *group* of which something new is known."""
        group.sort(key=lambda member: (self._first_seen(member.key), natural(member.key)))
        entity = self._entity_of(group)
        rows = []
        for member in group:
            row = {
                "kind": member.key[0],
                "record_id": member.key[1],
                "entity": entity,
                "since": self._first_seen(member.key),
                "title": member.title,
                "facts": member.facts if len(group) > 1 else None,
            }
            known = self._known.get(member.key)
            if known is None or any(getattr(known, name) != row[name] for name in row):
                rows.append(row)
        return rows

    def _first_seen(self, key: Key) -> int:
        known = self._known.get(key)
        return self._run if known is None else int(known.since)

    def _entity_of(self, group: Sequence[Member]) -> str:
        """The id of *group*, its oldest record first: the oldest that it has a claim to."""
        keys = {member.key for member in group}
        before = {row.entity for key in keys if (row := self._known.get(key))}
        claimed = [id for id in before if self._oldest.get(id) in keys]
        if not claimed:
            return self._new(group[0].key)
        kept: str
        kept, *merged = sorted(claimed, key=self._age)
        self._retired += [(id, kept) for id in merged]
        return kept

    def _age(self, entity: str) -> tuple[Any, ...]:
        oldest = self._oldest[entity]
        return (self._since[entity], self._first_seen(oldest), natural(oldest), entity)

    def _new(self, oldest: Key) -> str:
        table = tables.entities()
        for number in range(1000):
            id = _id_of(oldest, number)
            query = table.select().where(table.c.id == id)
            taken = self._connection.execute(query).first() if self._run > 1 else None
            if taken is None or taken.kept_by is not None or not self._has_members(id):
                break
        since = self._run if taken is None else taken.since
        self._entities.append({"id": id, "since": since, "kept_by": None})
        return id

    def _has_members(self, entity: str) -> bool:
        table = tables.members()
        query = table.select().where(table.c.entity == entity).limit(1)
        return self._connection.execute(query).first() is not None

    def _live(self) -> Iterable[tuple[str, int]]:
        """The ids that the records had, and since which run there are; retired ones are none."""
        table = tables.entities()
        ids = sorted({row.entity for row in self._known.values()})
        for part in tables.portions(ids):
            query = table.select().where(table.c.id.in_(part), table.c.kept_by.is_(None))
            yield from ((row.id, row.since) for row in self._connection.execute(query))

    def _oldest_of(self, ids: Sequence[str]) -> dict[str, Key]:
        """The oldest record of each entity, whichever group it is in now."""
        table = tables.members()
        oldest: dict[str, Row[Any]] = {}
        for part in tables.portions(ids):
            for row in self._connection.execute(table.select().where(table.c.entity.in_(part))):
                if row.entity not in oldest or _order(row) < _order(oldest[row.entity]):
                    oldest[row.entity] = row
        return {id: (row.kind, row.record_id) for id, row in oldest.items()}

    def _retire(self) -> None:
        """Merged ids lead to the one that was kept, in one step, as do those merged before."""
        table = tables.entities()
        for id, kept in self._retired:
            ids = (table.c.id == id) | (table.c.kept_by == id)
            self._connection.execute(table.update().where(ids).values(kept_by=kept))

    def _last_change(self) -> int:
        import sqlalchemy as sa

        query = sa.select(sa.func.max(tables.members().c.changed))
        return int(self._connection.execute(query).scalar() or 0)


def _order(row: Row[Any]) -> tuple[Any, ...]:
    return (row.since, natural((row.kind, row.record_id)))
