from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from spark_core_ingest.entities.operations import EntitiesRequest, EntityLine, list_all
from spark_core_ingest.entities.registry import Entities
from spark_core_ingest.entities.resolve import ResolveReport, resolve
from spark_core_ingest.settings import IngestSettings

from spark_core import Caller
from spark_core.state import Leases, State
from spark_core.testing.clock import ManualClock

#: What a kind of people may say; every column is of the sort that it is called.
COLUMNS = (
    "name",
    "given_name",
    "family_name",
    "email",
    "phone",
    "address",
    "postcode",
    "birth_date",
    "organization",
    "ids",
)


class Silence:
    """Progress that nobody looks at; it is kept."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        self.phases.append(phase)


@dataclass
class Town:
    """A CRM of people and firms, and the state that knows who is who."""

    path: Path
    entities: Entities
    leases: Leases
    progress: Silence = field(default_factory=Silence)
    match: dict[str, dict[str, Any]] = field(default_factory=dict)
    phone_region: str | None = None

    def table(self, kind: str, rows: Sequence[Mapping[str, Any]], **match: Any) -> None:
        """Write *rows* (with their ``id``) as the table of *kind*, in place of the one before."""
        self.match[kind] = match or {name: name for name in COLUMNS}
        columns = ["id", *COLUMNS]
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(f"DROP TABLE IF EXISTS {kind}")
            connection.execute(
                f"CREATE TABLE {kind} (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})"
            )
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"INSERT INTO {kind} VALUES ({marks})",
                [[row.get(column) for column in columns] for row in rows],
            )

    def people(self, *rows: Mapping[str, Any]) -> None:
        """A table of people, numbered from 1 where they have no ids."""
        self.table("person", [{"id": n, **row} for n, row in enumerate(rows, start=1)])

    @property
    def settings(self) -> IngestSettings:
        kinds = {
            kind: {"table": kind, "id": "id", "text": "name", "match": match}
            for kind, match in self.match.items()
        }
        values = {"database": self.path, "kinds": kinds, "phone_region": self.phone_region}
        return IngestSettings.model_validate(values)

    async def resolve(self) -> ResolveReport:
        return await resolve(
            self.settings, self.entities, self.leases, self.progress, Caller("a test")
        )

    async def lines(self) -> list[EntityLine]:
        return [line async for line in list_all(EntitiesRequest(), self.entities)]

    async def together(self) -> list[list[str]]:
        """The records that are one with others, as kind:id, in order."""
        lines = await self.lines()
        found = [[f"{m.kind}:{m.id}" for m in line.members] for line in lines]
        return sorted(names for names in found if len(names) > 1)

    async def ids(self) -> dict[str, str]:
        """The entity of each record."""
        return {
            f"{m.kind}:{m.id}": line.entity for line in await self.lines() for m in line.members
        }

    async def suggested(self) -> dict[tuple[str, str], str | None]:
        """Suggestions with their doubts."""
        found = await self.entities.suggestions(1000)
        return {(":".join(link.a), ":".join(link.b)): link.doubt for link in found}


@pytest.fixture
def town(tmp_path: Path, state: State, spark_clock: ManualClock) -> Town:
    return Town(tmp_path / "crm.db", Entities(state, spark_clock), Leases(state, spark_clock))
