"""Who a record is of, as far as hits show it.

Asked when a hit is shown, not stored with its points: a merge shows at once, and costs nothing
(``docs/decisions/0019``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from spark_core.contracts.vectors import Hit
from spark_core.errors import NotConfigured

__all__ = ["Entities", "labelled", "records_of"]

#: What names a record: its kind and its id.
RecordKey = tuple[str, str]


class Entities(Protocol):
    """What search asks of entity resolution."""

    async def of(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, str]:
        """The entity of each record that has one."""
        ...

    async def members(self, entity_id: str) -> Sequence[RecordKey]:
        """The records of an entity."""
        ...

    async def resolve_id(self, entity_id: str) -> str:
        """The entity's id today: one that was merged has that of the one that kept its own."""
        ...


async def labelled(hits: Sequence[Hit], entities: Entities | None) -> Mapping[RecordKey, str]:
    """The entities of the records that *hits* are pieces of."""
    keys = {key_of(hit) for hit in hits if hit.payload.get("record_id")}
    return await entities.of(sorted(keys)) if entities and keys else {}


def key_of(hit: Hit) -> RecordKey:
    """What names the record that *hit* is a piece of."""
    return hit.payload.get("kind", ""), hit.payload.get("record_id", "")


async def records_of(ids: Sequence[object], entities: Entities | None) -> list[str]:
    """The records of some entities, as points name them.

    :raises NotConfigured: nothing here finds out who is who.
    """
    if entities is None:
        raise NotConfigured("no entities are known here", hint="spark ingest resolve")
    found: list[RecordKey] = []
    for id in ids:
        found += await entities.members(await entities.resolve_id(str(id)))
    return [json.dumps(list(key)) for key in found] or [""]  # which is no record's name
