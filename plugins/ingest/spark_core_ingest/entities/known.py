"""Who is known, by all that the CRM knows them by: for whoever must find them in texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, asynccontextmanager
from typing import Any

from spark_core.contracts.detection import FollowedEntities, KnownChanges, KnownEntity
from spark_core.contracts.records import Record
from spark_core.errors import NotConfigured

from ..settings import IngestSettings, MatchSettings
from ..sqlite import SqliteSource
from .profiles import Key, matching_kinds, source_of
from .registry import Entities
from .rows import Rows

__all__ = ["CrmEntities", "open_known"]

#: Of more records than this all is read anew: it takes less time than to look for each.
FEW = 500


@asynccontextmanager
async def open_known(
    settings: IngestSettings, entities: Entities
) -> AsyncIterator[FollowedEntities]:
    """What the columns of the kinds' ``match`` tables say, as entities.

    :raises NotConfigured: there is no database, or no kind with such a table.
    """
    source = source_of(settings)
    if source is None or settings.database is None:
        raise NotConfigured(
            "nothing says by what people and firms are known",
            hint="describe a [plugins.ingest.kinds.<kind>.match] table",
        )
    rows = Rows(settings.database, matching_kinds(settings))
    yield CrmEntities(settings, source, rows, entities)


class CrmEntities:
    """Reads the CRM as it is at the moment; who is who, the state says."""

    def __init__(
        self, settings: IngestSettings, source: SqliteSource, rows: Rows, entities: Entities
    ) -> None:
        self._settings = settings
        self._source = source
        self._rows = rows
        self._entities = entities
        self._owners: dict[Key, str] = {}
        self._seen = 0
        self._told: str | None = None

    async def version(self) -> str:
        """See :class:`~spark_core.contracts.detection.KnownEntities`."""
        return f"{await self._source.version()}/{await self._entities.newest()}"

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        """One for each record, and one for each employer it names; each entity bears its id."""
        self._told, version = None, await self.version()
        await self._rows.changed()  # before they are read: what changes then is seen to change
        await self._changed_owners()
        for name, kind in self._settings.kinds.items():
            if not kind.match_columns:
                continue
            make = _Maker(kind.match or MatchSettings())
            async with aclosing(self._source.records(name, batch=batch)) as batches:
                async for records in batches:
                    yield await asyncio.to_thread(make.all, records, self._owners)
        self._told = version

    async def changes(self, since: str) -> KnownChanges | None:
        """What changed records tell now: those that the state says are of another entity, and,
        once the file is another one, those that say something else than when it was last read.
        """
        if self._told is None or since != self._told:
            return None
        self._told, version = None, await self.version()
        keys = await self._changed_owners()
        if keys is not None and _file(version) != _file(since):
            keys = keys | await self._rows.changed()
        if keys is None or len(keys) > FEW:
            return None
        records = {":".join(key): await self._tell(key) for key in keys}
        self._told = version
        return KnownChanges(version, records)

    async def _tell(self, key: Key) -> Sequence[KnownEntity]:
        kind, id = key
        match = self._settings.kinds[kind].match or MatchSettings()
        return _Maker(match).all(await self._source.find(kind, id), self._owners)

    async def _changed_owners(self) -> AbstractSet[Key] | None:
        """Note the entity of each record that a run has seen, and tell whose may be another one
        than when this was last asked; ``None`` if those of all may.
        """
        newest = await self._entities.newest()
        if newest and not self._owners:
            async for rows in self._entities.known():
                self._owners.update({(kind, id): entity for kind, id, entity, *_ in rows})
            self._seen = newest
            return None
        changed: set[Key] = set()
        self._seen = min(self._seen, newest)  # the newest may be gone, and its number used again
        while self._seen < newest:
            changes = await self._entities.changed_after(self._seen)
            self._owners.update(await self._entities.of(changes.keys))
            self._seen = changes.cursor if changes.keys else newest
            changed.update(changes.keys)
        return changed


def _file(version: str) -> str:
    return version.rpartition("/")[0]


class _Maker:
    """Makes entities of records of one kind."""

    def __init__(self, match: MatchSettings) -> None:
        self._match = match
        self._has_people = bool(match.name or match.given_name or match.family_name)

    def all(self, records: Sequence[Record], owners: Mapping[Key, str]) -> list[KnownEntity]:
        """What *records* say."""
        return [known for record in records for known in self._known(record, owners)]

    def _known(self, record: Record, owners: Mapping[Key, str]) -> Iterator[KnownEntity]:
        match, row = self._match, record.metadata
        organizations = _written(row, match.organization)
        name = f"{record.kind}:{record.id}"
        yield KnownEntity(
            owners.get((record.kind, record.id)) or name,
            "PERSON" if self._has_people else "ORGANIZATION",
            names=_written(row, match.name) if self._has_people else organizations,
            given=" ".join(_written(row, match.given_name)),
            family=" ".join(_written(row, match.family_name)),
            emails=_split(_written(row, match.email)),
            phones=_split(_written(row, match.phone)),
            addresses=_written(row, match.address),
            births=_written(row, match.birth_date),
            numbers=_written(row, match.ids),
            record=name,
        )
        if self._has_people:
            for written in organizations:
                id = f"organization:{written.casefold()}"
                yield KnownEntity(id, "ORGANIZATION", names=(written,), record=name)


def _written(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        text
        for column in columns
        if (value := row[column]) is not None and (text := str(value).strip())
    )


def _split(written: Iterable[str]) -> tuple[str, ...]:
    """One column may hold several addresses or numbers."""
    parts = (part.strip() for text in written for part in text.replace(";", ",").split(","))
    return tuple(part for part in parts if part)
