"""What sessions taught: items with their evidence, and hints which of them are alike.

An item has the id that its text gives it. Seen again it is not another one: it has one piece of
evidence more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from spark_core.clock import Clock
from spark_core.contracts.sessions import SessionFile
from spark_core.state import State

from .tables import storable, table, upsert

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["Item", "Knowledge", "confidence_of", "item_id", "likeness"]

#: How sure it is that something is meant so, by how it came to be said.
_CONFIDENCE: Final = {"correction": 0.90, "unprompted_definition": 0.90, "confirmation": 0.60}
_UNKNOWN: Final = 0.60

#: How many things two items must both be about to be called alike.
SHARED: Final = 2


@dataclass(frozen=True)
class Item:
    """Something that somebody said is so. ``detection`` is how it came to be said."""

    title: str
    content: str
    domain: str
    entities: tuple[str, ...]
    detection: str

    @property
    def id(self) -> str:
        """The id that its text gives it."""
        return item_id(self.title, self.content)


def item_id(title: str, content: str) -> str:
    """The id of what has this *title* and *content*."""
    return "kv_" + hashlib.sha256(f"{title}:{content}".encode()).hexdigest()[:12]


def confidence_of(detection: str) -> float:
    """How sure it is; a model is not asked."""
    return _CONFIDENCE.get(detection, _UNKNOWN)


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """How alike two items are by what they are about: Jaccard's index, 0 below two in common."""
    first, second = ({entity.casefold() for entity in entities} for entities in (one, other))
    shared = len(first & second)
    return shared / len(first | second) if shared >= SHARED else 0.0


class Knowledge:
    """Keeps items."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(self, item: Item, session: SessionFile) -> bool:
        """Keep *item* as found in *session*; gives whether it is new."""

        def transaction(connection: Connection) -> bool:
            items = _items()
            is_known = connection.execute(items.select().where(items.c.id == item.id)).first()
            if not is_known:
                connection.execute(items.insert().values(self._row(item)))
            upsert(connection, _evidence(), ("item", "session_file"), self._seen(item, session))
            return not is_known

        return await self._state.write(transaction)

    def _row(self, item: Item) -> dict[str, Any]:
        return {
            "id": item.id,
            "title": item.title,
            "content": item.content,
            "domain": item.domain,
            "entities": list(item.entities),
            "detection": item.detection,
            "confidence": confidence_of(item.detection),
            "status": "pending",
            "found_at": self._clock.now(),
        }

    def _seen(self, item: Item, session: SessionFile) -> dict[str, Any]:
        return {
            "item": item.id,
            "session_file": session.key,
            "username": storable(session.username, 300),
            "detection": item.detection,
            "seen_at": self._clock.now(),
        }

    async def near(self, item: Item) -> list[Item]:
        """The other items of its domain, the newest first."""
        items = _items()
        query = items.select().where(items.c.domain == item.domain, items.c.id != item.id)
        query = query.order_by(items.c.found_at.desc()).limit(500)
        rows = await self._state.read(lambda c: c.execute(query).all())
        return [Item(r.title, r.content, r.domain, tuple(r.entities), r.detection) for r in rows]

    async def hint(self, item: Item, other: Item, kind: str, score: float) -> None:
        """Write down that two items may be of one meaning, or against each other."""
        values = {"item": item.id, "other": other.id, "kind": kind, "score": score}
        keys = ("item", "other", "kind")
        await self._state.write(lambda c: upsert(c, _hints(), keys, values))


def _items() -> TableClause:
    import sqlalchemy as sa

    columns = ("id", "title", "content", "domain", "detection", "confidence", "status")
    made = table("session_knowledge", *columns, moments=("found_at",))
    if "entities" not in made.c:
        made.append_column(sa.column("entities", sa.JSON))
    return made


def _evidence() -> TableClause:
    columns = ("item", "session_file", "username", "detection")
    return table("session_evidence", *columns, moments=("seen_at",))


def _hints() -> TableClause:
    return table("session_hints", "item", "other", "kind", "score")
