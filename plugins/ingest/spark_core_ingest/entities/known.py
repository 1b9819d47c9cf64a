"""Who is known, by all that the CRM knows them by: for whoever must find them in texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from spark_core.contracts.detection import KnownEntities, KnownEntity
from spark_core.contracts.records import Record
from spark_core.errors import NotConfigured

from ..settings import IngestSettings, MatchSettings
from ..sqlite import SqliteSource
from .profiles import Key, source_of
from .registry import Entities

__all__ = ["CrmEntities", "open_known"]


@asynccontextmanager
async def open_known(settings: IngestSettings, entities: Entities) -> AsyncIterator[KnownEntities]:
    """What the columns of the kinds' ``match`` tables say, as entities.

    :raises NotConfigured: there is no database, or no kind with such a table.
    """
    source = source_of(settings)
    if source is None:
        raise NotConfigured(
            "nothing says by what people and firms are known",
            hint="describe a [plugins.ingest.kinds.<kind>.match] table",
        )
    yield CrmEntities(settings, source, entities)


class CrmEntities:
    """Reads the CRM as it is at the moment; who is who, the state says."""

    def __init__(self, settings: IngestSettings, source: SqliteSource, entities: Entities) -> None:
        self._settings = settings
        self._source = source
        self._entities = entities
        self._owners: dict[Key, str] = {}
        self._seen = 0

    async def version(self) -> str:
        """See :class:`~spark_core.contracts.detection.KnownEntities`."""
        return f"{await self._source.version()}/{await self._entities.newest()}"

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        """One for each record; those of one entity bear its id. Employers are firms, too."""
        owners = await self._current_owners()
        employers: set[str] = set()
        for name, kind in self._settings.kinds.items():
            if not kind.match_columns:
                continue
            make = _Maker(kind.match or MatchSettings(), employers)
            async with aclosing(self._source.records(name, batch=batch)) as batches:
                async for records in batches:
                    yield await asyncio.to_thread(make.all, records, owners)

    async def _current_owners(self) -> Mapping[Key, str]:
        """The entity of each record that a run has seen; only what has changed is read."""
        newest = await self._entities.newest()
        if newest and not self._owners:
            async for rows in self._entities.known():
                self._owners.update({(kind, id): entity for kind, id, entity, *_ in rows})
        while self._owners and self._seen < newest:
            changes = await self._entities.changed_after(self._seen or newest)
            self._owners.update(await self._entities.of(changes.keys))
            self._seen = changes.cursor if changes.keys else newest
        return self._owners


class _Maker:
    """Makes entities of records of one kind. ``employers`` are those that were made before."""

    def __init__(self, match: MatchSettings, employers: set[str]) -> None:
        self._match = match
        self._employers = employers
        self._has_people = bool(match.name or match.given_name or match.family_name)

    def all(self, records: Sequence[Record], owners: Mapping[Key, str]) -> list[KnownEntity]:
        """What *records* say."""
        return [known for record in records for known in self._known(record, owners)]

    def _known(self, record: Record, owners: Mapping[Key, str]) -> Iterator[KnownEntity]:
        match, row = self._match, record.metadata
        organizations = _written(row, match.organization)
        yield KnownEntity(
            owners.get((record.kind, record.id)) or f"{record.kind}:{record.id}",
            "PERSON" if self._has_people else "ORGANIZATION",
            names=_written(row, match.name) if self._has_people else organizations,
            given=" ".join(_written(row, match.given_name)),
            family=" ".join(_written(row, match.family_name)),
            emails=_split(_written(row, match.email)),
            phones=_split(_written(row, match.phone)),
            addresses=_written(row, match.address),
            births=_written(row, match.birth_date),
            numbers=_written(row, match.ids),
        )
        if self._has_people:
            yield from self._employed_by(organizations)

    def _employed_by(self, organizations: Iterable[str]) -> Iterator[KnownEntity]:
        for written in organizations:
            if written not in self._employers:
                self._employers.add(written)
                id = f"organization:{written.casefold()}"
                yield KnownEntity(id, "ORGANIZATION", names=(written,))


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
