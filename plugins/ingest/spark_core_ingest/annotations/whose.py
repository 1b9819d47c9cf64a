"""Who annotations are of: whoever the record is of that they are about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from ..entities.registry import Entities
from ..labels import RecordKey
from .store import KINDS, Annotations

__all__ = ["Whose", "open_whose"]


@asynccontextmanager
async def open_whose(entities: Entities, annotations: Annotations) -> AsyncIterator[Whose]:
    """What search asks of entities, with their annotations among their records."""
    yield Whose(entities, annotations)


class Whose:
    """Entities as :class:`spark_core_ingest.labels.Entities` wants them."""

    def __init__(self, entities: Entities, annotations: Annotations) -> None:
        self._entities = entities
        self._annotations = annotations

    async def of(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, str]:
        """The entity of each record, and of each annotation, that has one."""
        ids = [id for kind, id in keys if kind in KINDS]
        added = await self._annotations.named(ids) if ids else []
        about: dict[RecordKey, RecordKey] = {(one.kind, one.id): one.about for one in added}
        wanted = {about.get(key, key) for key in keys}
        found = await self._entities.of(sorted(wanted))
        return {key: found[of] for key in keys if (of := about.get(key, key)) in found}

    async def members(self, entity_id: str) -> Sequence[RecordKey]:
        """The records of an entity, and what was annotated to them."""
        members = await self._entities.members(entity_id)
        added = await self._annotations.about(members) if members else []
        return [*members, *((one.kind, one.id) for one in added)]

    async def resolve_id(self, entity_id: str) -> str:
        """The entity's id today."""
        return await self._entities.resolve_id(entity_id)
