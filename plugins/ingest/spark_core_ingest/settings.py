"""``[plugins.ingest]``: which database, and how its tables become records."""

from __future__ import annotations

import logging
import math
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from spark_core import ConfigPath, Env, Section
from spark_core.contracts.vectors import CollectionName

from .names import unquoted

__all__ = ["IngestSettings", "KindSettings", "MatchSettings"]

log = logging.getLogger(__name__)

#: Minutes between two syncs where nothing better is said.
INTERVAL = 60.0


def _minutes(value: Any) -> float:
    """*value* as minutes: a schedule that does not start for a typing error helps nobody."""
    try:
        minutes = float(value)
    except (TypeError, ValueError):
        minutes = math.nan
    if 0 < minutes < math.inf:
        return minutes
    log.warning("%r is no interval in minutes; a sync is made every %g", value, INTERVAL)
    return INTERVAL


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _unquoted(names: list[str]) -> list[str]:
    """Hits and filters show a column's name, not the quotes that SQL writes around it."""
    return [unquoted(name) for name in names]


#: A kind's name, as hits and filters show it.
KindName = Annotated[str, StringConstraints(min_length=1, max_length=100)]

#: One column or a list of columns.
Columns = Annotated[list[str], BeforeValidator(_listed)]


class MatchSettings(Section):
    """``[plugins.ingest.kinds.<kind>.match]``: the columns that tell who somebody is."""

    name: Columns = []
    given_name: Columns = []
    family_name: Columns = []
    email: Columns = []
    phone: Columns = []
    address: Columns = []
    postcode: Columns = []
    birth_date: Columns = []
    organization: Columns = []
    ids: Columns = []


class KindSettings(Section):
    """``[plugins.ingest.kinds.<kind>]``: one kind of record."""

    table: str | None = Field(default=None, description="The table or view to read, or:")
    query: str | None = Field(default=None, description="a SELECT to read instead.")
    id: str = Field(description="The column that names a record.")
    text: Columns = Field(min_length=1, description="The columns to search in, in reading order.")
    title: str | None = Field(default=None, description="The column that is a hit's title.")
    updated: str | None = Field(
        default=None,
        description="The column with the last change. It must be there; whether a record has "
        "changed is told by its content.",
    )
    metadata: Annotated[Columns, AfterValidator(_unquoted)] = Field(
        default=[],
        description="Columns returned with hits and usable in filters, cut at 1000 characters.",
    )
    match: MatchSettings | None = Field(default=None, description="For entity resolution.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("needs either a table or a query")
        for name in self.metadata:
            if not name or not name.isprintable() or set('."\\') & set(name):
                raise ValueError(
                    f"metadata {name!r}: no filter can name it; rename it in a query, "
                    "without dots, quotes, backslashes and invisible characters"
                )
        return self

    @property
    def columns(self) -> list[str]:
        """Every column that is read, each once, the id first."""
        named = [self.id, self.title, *self.text, *self.metadata]
        return list(dict.fromkeys(name for name in named if name))

    @property
    def match_columns(self) -> list[str]:
        """Every column that tells who somebody is."""
        named = dict(self.match or MatchSettings()).values()
        return [column for columns in named for column in columns]


class IngestSettings(Section):
    """Which database is indexed, and how."""

    database: Annotated[ConfigPath | None, Env("CRM_DB_PATH")] = Field(
        default=None, description="The CRM's SQLite database. It is only ever read."
    )
    collection: CollectionName = Field(
        default="crm_chunks",
        max_length=100,  # a rebuild adds to it
        description="Where the index lies, and what is searched by default.",
    )
    kinds: dict[KindName, KindSettings] = Field(
        default={}, description="What to read: a table for each kind of record."
    )
    phone_region: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] | None = Field(
        default=None,
        description="The country, such as `AT`, of phone numbers that are written without one.",
    )
    chunk_characters: int = Field(
        default=2000, ge=200, description="Longer texts are indexed in pieces of this length."
    )
    sync_interval_min: Annotated[
        float, BeforeValidator(_minutes), Env("CRM_INGEST_SYNC_INTERVAL_MIN")
    ] = Field(
        default=INTERVAL,
        description="Minutes between two syncs of `spark ingest schedule`. What is no such "
        "number counts as 60, with a warning.",
    )
    in_flight: int = Field(
        default=8, ge=1, le=64, description="How many embedding requests wait at the same time."
    )
