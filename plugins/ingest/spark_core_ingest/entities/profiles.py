"""What the CRM's records say of who somebody is, each record in the form that is compared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from spark_core.contracts.records import Record
from spark_core.errors import NotConfigured

from ..settings import IngestSettings, KindSettings, MatchSettings
from ..sqlite import SqliteSource
from . import values

__all__ = ["Key", "Profile", "matching_kinds", "natural", "profiles", "source_of"]

#: A record's kind and id.
Key = tuple[str, str]

#: A record is compared by at most so many values of one sort: a column may hold anything.
VALUES = 20


def natural(key: Key) -> tuple[str, bool, int, str]:
    """The order of keys in which the oldest of a first run is the first: 9 before 10."""
    kind, id = key
    is_number = id.isascii() and id.isdigit()
    return (kind, not is_number, len(id) if is_number else 0, id)


@dataclass(slots=True)
class Profile:
    """A record as it is compared. ``is_firm`` says that it is of a kind that has no people."""

    key: Key
    title: str = ""
    is_firm: bool = False
    given: str | None = None
    family: str | None = None
    generation: str | None = None
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    births: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    organizations: list[str] = field(default_factory=list)
    postcodes: list[str] = field(default_factory=list)
    houses: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def merge(self, other: Profile) -> None:
        """Take in what another row of the same id says."""
        self.title = self.title or other.title
        self.given = self.given or other.given
        self.family = self.family or other.family
        self.generation = self.generation or other.generation
        for name in _LISTS:
            mine, more = getattr(self, name), getattr(other, name)
            setattr(self, name, sorted({*mine, *more})[:VALUES])

    @property
    def initials(self) -> str:
        """The first letters of its names, in whatever order they were written."""
        return "".join(sorted(name[0] for name in (self.given, self.family) if name))

    @property
    def keys(self) -> Iterator[str]:
        """What it may share with a record of the same person. Who shares none is not compared."""
        sort = "firm" if self.is_firm else ""
        return (f"{sort}{key}" for key in self._keys())

    def _keys(self) -> Iterator[str]:
        given, family = self.given or "", self.family or ""
        yield from (f"email {email}" for email in self.emails)
        yield from (f"local {email.partition('@')[0]}" for email in self.emails)  # elsewhere, too
        yield from (f"phone {tail(phone)}" for phone in self.phones)
        yield from (f"id {id.rpartition('=')[2]}" for id in self.ids)
        yield from (f"part {part}" for part in self.parts if len(part) > 6)
        yield from (f"organization {name}" for name in self.organizations)
        yield from (f"begin {name.replace(' ', '')[:8]}" for name in self.organizations)
        for birth in self.births:
            yield f"birth {birth}"
            yield f"birth {birth} {self.initials}"
        if given or family:
            yield f"name {' '.join(sorted((given, family)))}"
        for name in {given, family} - {""}:
            yield from (f"{name} {place}" for place in (*self.postcodes, *self.parts[:1]))
            yield from (f"{name} {birth[:4]}" for birth in self.births)
            yield from (f"{name} works for {firm}" for firm in self.organizations)
            yield f"{name[:5]} {self.initials}"


_LISTS = ("emails", "phones", "births", "ids", "organizations", "postcodes", "houses", "parts")


def tail(phone: str) -> str:
    """The digits of a number that are written with and without its country."""
    return phone.partition("x")[0][-8:]


def source_of(settings: IngestSettings) -> SqliteSource | None:
    """Reads the columns that tell who somebody is; none where no kind has such.

    :raises NotConfigured: there is no database.
    """
    if settings.database is None:
        raise NotConfigured(
            "nothing says which database to read",
            hint="set [plugins.ingest] database, or CRM_DB_PATH",
        )
    kinds = matching_kinds(settings)
    return SqliteSource(settings.database, kinds) if kinds else None


def matching_kinds(settings: IngestSettings) -> dict[str, KindSettings]:
    """The kinds that tell who somebody is, with the columns that do and no others."""
    return {name: _of_matching(kind) for name, kind in settings.kinds.items() if _matches(kind)}


def _matches(kind: KindSettings) -> bool:
    return bool(kind.match_columns)


def _of_matching(kind: KindSettings) -> KindSettings:
    """*kind* with the columns of its ``match`` table as metadata, and nothing else to read."""
    columns = list(dict.fromkeys(kind.match_columns))
    return kind.model_copy(update={"text": [], "metadata": columns, "updated": None})


async def profiles(settings: IngestSettings, batch: int = 2000) -> AsyncIterator[list[Profile]]:
    """The profiles of all records, in batches; rows of one id are one record.

    :raises SourceError: the database cannot be read, or the mapping does not fit it.
    """
    source = source_of(settings)
    for name, kind in settings.kinds.items():
        if source is None or not _matches(kind):
            continue
        match = kind.match or MatchSettings()
        last: Profile | None = None
        async with aclosing(source.records(name, batch=batch)) as batches:
            async for records in batches:
                region = settings.phone_region
                done, last = await asyncio.to_thread(_grouped, records, match, region, last)
                yield done
        if last:
            yield [last]


def _grouped(
    records: Sequence[Record], match: MatchSettings, region: str | None, last: Profile | None
) -> tuple[list[Profile], Profile | None]:
    """Profiles that are whole, and the one that the next record may add to."""
    done: list[Profile] = []
    for record in records:
        profile = _profile(record, match, region)
        if last and last.key == profile.key:
            last.merge(profile)
            continue
        if last:
            done.append(last)
        last = profile
    return done, last


def _profile(record: Record, match: MatchSettings, region: str | None) -> Profile:
    def read(columns: Iterable[str]) -> list[Any]:
        return [record.metadata[column] for column in columns]

    given, family = _name(match, record.metadata)
    postcodes = _distinct(map(values.postcode, read(match.postcode)))
    phones = (values.phone(value, region) for value in read(match.phone))
    return Profile(
        key=(record.kind, record.id),
        title=record.title or _title(match, record.metadata),
        is_firm=not (match.name or match.given_name or match.family_name or match.birth_date)
        and bool(match.organization),
        given="".join(given)[:60] or None,
        family="".join(family)[:60] or None,
        generation=next(filter(None, map(values.generation, read(_names(match)))), None),
        emails=_distinct(email for value in read(match.email) for email in _emails(value)),
        phones=_distinct(phones),
        births=_distinct(map(values.birth_date, read(match.birth_date))),
        ids=_distinct(
            f"{column.casefold()}={id}"
            for column in match.ids
            if (id := values.identifier(record.metadata[column]))
        ),
        organizations=_distinct(map(values.organization, read(match.organization))),
        postcodes=postcodes,
        houses=_distinct(
            number
            for value in read(match.address)
            for number in values.house_numbers(value)
            if number not in postcodes
        ),
        parts=[p for value in read(match.address) for p in values.address_parts(value)][:VALUES],
    )


def _emails(value: Any) -> Iterator[str]:
    """One column may hold several addresses."""
    written = str(value or "").replace(";", ",").split(",")
    return (
        email for text in written if (email := values.email(text)) and not values.is_role(email)
    )


def _distinct(found: Iterable[str]) -> list[str]:
    return sorted({value for value in found if value})[:VALUES]


def _name(match: MatchSettings, row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Given and family names: from their own columns, else from the first that is a whole name;
    where none is, from all of them together.
    """
    given = [word for column in match.given_name for word in values.name_words(row[column])]
    family = [word for column in match.family_name for word in values.name_words(row[column])]
    if given or family:
        return given, family
    names = [values.split_name(row[column]) for column in match.name]
    if whole := next((name for name in names if name[0] and name[1]), None):
        return whole
    words = list(dict.fromkeys(word for name in names for word in (*name[0], *name[1])))
    return words[:-1], words[-1:]


def _names(match: MatchSettings) -> list[str]:
    return [*match.name, *match.family_name, *match.given_name]


def _title(match: MatchSettings, row: Mapping[str, Any]) -> str:
    """What a record is called that has no title."""
    columns = match.name or [*match.given_name, *match.family_name] or match.organization
    written = (str(row[column]).strip() for column in columns if row[column])
    return " ".join(text for text in written if text)
