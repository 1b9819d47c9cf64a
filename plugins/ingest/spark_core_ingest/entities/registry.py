"""Who is who, as the state has it: asked by everybody, written by one run at a time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spark_core.clock import Clock
from spark_core.errors import Conflict, NotFound
from spark_core.state import State
from spark_core.state.times import aware

from . import tables
from .clusters import Facts, cluster
from .profiles import Key, natural
from .settling import Group, Member, settle

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Changes", "Decision", "Entities", "Entity", "Link", "open_entities", "ordered"]

#: So many records are settled in one transaction: others want to write, too.
RECORDS = 5000


@dataclass(frozen=True)
class Entity:
    """A person or a firm: what its oldest record is called, and all records, the oldest first."""

    id: str
    name: str
    members: Sequence[Key]


@dataclass(frozen=True)
class Link:
    """Two records that may be one. ``doubt`` says why that is not certain."""

    a: Key
    b: Key
    score: float
    doubt: str | None
    reasons: Sequence[str]


@dataclass(frozen=True)
class Decision:
    """What a person decided of two records: to ``confirm`` or to ``refuse`` that they are one."""

    a: Key
    b: Key
    verdict: str
    by: str
    at: datetime


@dataclass(frozen=True)
class Changes:
    """Records whose entity has changed, and where to go on after them."""

    keys: Sequence[Key]
    cursor: int


@asynccontextmanager
async def open_entities(state: State, clock: Clock) -> AsyncIterator[Entities]:
    """The entities in the state."""
    yield Entities(state, clock)


def ordered(one: Key, other: Key) -> tuple[Key, Key]:
    """The two in the order in which pairs are kept."""
    first, second = sorted((one, other), key=natural)
    return first, second


class Entities:
    """Answers which records are one, and takes in what runs found and people decided."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    # ------------------------------------------------------------------------------ asking

    async def of(self, keys: Sequence[Key]) -> dict[Key, str]:
        """The entity of each of *keys* (kind and id); those that no run has seen are left out."""
        rows = await self._state.read(lambda c: tables.member_rows(c, keys))
        return {key: row.entity for key, row in rows.items()}

    async def members(self, entity_id: str) -> list[Key]:
        """The records of an entity, the oldest first.

        :raises NotFound: there was never such an entity.
        """
        return list((await self.entity(entity_id)).members)

    async def resolve_id(self, entity_id: str) -> str:
        """The id that an entity has now: a merged one leads to the one that was kept.

        :raises NotFound: there was never such an entity.
        """
        table = tables.entities()
        query = table.select().where(table.c.id == entity_id)
        row = await self._state.read(lambda c: c.execute(query).first())
        if row is None:
            raise NotFound(f"there is no entity {entity_id!r}", hint="spark ingest entities")
        return str(row.kept_by or row.id)

    async def entity(self, entity: str) -> Entity:
        """An entity by its id, or by one that it had before it was merged.

        :raises NotFound: there was never such an entity.
        """
        current = await self.resolve_id(entity)
        found = await self._state.read(lambda c: _entities(c, [current]))
        return found[0] if found else Entity(current, "", ())

    async def changed_after(self, cursor: int, limit: int = 10_000) -> Changes:
        """The next records whose entity, or its facts, changed after *cursor*, 0 for all.

        Ask again with the answer's cursor until there are no more keys.
        """
        table = tables.members()
        query = table.select().where(table.c.changed > cursor).order_by(table.c.changed)
        rows = await self._state.read(lambda c: c.execute(query.limit(limit)).all())
        keys = [(row.kind, row.record_id) for row in rows]
        return Changes(keys, rows[-1].changed if rows else cursor)

    async def newest(self) -> int:
        """The cursor behind which nothing has changed: another one once anything has."""
        import sqlalchemy as sa

        query = sa.select(sa.func.max(tables.members().c.changed))
        return await self._state.read(lambda c: c.execute(query).scalar()) or 0

    async def page(
        self, after: str = "", limit: int = 1000, name: str | None = None, least: int = 1
    ) -> list[Entity]:
        """Entities in the order of their ids, those behind *after*.

        *name* must be in what one of its records is called; it must have *least* records.
        """
        import sqlalchemy as sa

        table = tables.members()
        query = sa.select(table.c.entity).where(table.c.entity > after).group_by(table.c.entity)
        if least > 1:
            query = query.having(sa.func.count() >= least)
        query = query.order_by(table.c.entity).limit(limit)

        def transaction(connection: Connection) -> list[Entity]:
            of = query
            if name:
                title = tables.lower(connection, table.c.title)
                of = query.where(title.contains(name.lower(), autoescape=True))
            return _entities(connection, list(connection.execute(of).scalars()))

        return await self._state.read(transaction)

    async def links(self, keys: Sequence[Key]) -> list[Link]:
        """The links of any of *keys*, the strongest first."""
        return await self._state.read(lambda c: _links(c, keys))

    async def suggestions(self, limit: int) -> list[Link]:
        """Pairs that may be one and are not, the most likely first; decided ones are left out."""
        return await self._state.read(lambda c: _suggestions(c, limit))

    async def decisions(self, keys: Sequence[Key] | None = None) -> list[Decision]:
        """What was decided of *keys*, or of any records."""
        return await self._state.read(lambda c: _decisions(c, keys))

    # ----------------------------------------------------------------------------- deciding

    async def decide(self, one: Key, other: Key, verdict: str | None, by: str) -> str | None:
        """Note a person's *verdict*, ``None`` to take one back, and act on it at once.

        Returns the verdict there was.

        :raises NotFound: a record is not known.
        :raises Conflict: it contradicts what was decided of other records.
        """
        pair = ordered(one, other)
        return await self._state.write(lambda c: self._decide(c, pair, verdict, by))

    def _decide(
        self, connection: Connection, pair: tuple[Key, Key], verdict: str | None, by: str
    ) -> str | None:
        known = tables.member_rows(connection, pair)
        for key in pair:
            if key not in known:
                raise NotFound(f"no record {':'.join(key)} is known", hint="spark ingest resolve")
        before = {(d.a, d.b): d.verdict for d in _decisions(connection, pair)}.get(pair)
        if verdict == before:
            return before
        if verdict:
            _check_contradiction(connection, pair, verdict)
        self._note(connection, pair, verdict, by)
        entities = sorted({row.entity for row in known.values()})
        _settle_again(connection, entities)
        return before

    async def catch_up(self, before: Sequence[Decision]) -> None:
        """Act again on what was decided, or taken back, since there was *before*.

        A run that went by that has written over it meanwhile.
        """

        def transaction(connection: Connection) -> None:
            for decision in {*before} ^ {*_decisions(connection, None)}:
                known = tables.member_rows(connection, (decision.a, decision.b))
                _settle_again(connection, sorted({row.entity for row in known.values()}))

        await self._state.write(transaction)

    def _note(
        self, connection: Connection, pair: tuple[Key, Key], verdict: str | None, by: str
    ) -> None:
        table = tables.decisions()
        row: dict[str, Any] = dict(zip(tables.PAIR, (*pair[0], *pair[1]), strict=True))
        if verdict is None:
            connection.execute(table.delete().where(*(table.c[k] == v for k, v in row.items())))
            return
        row |= {"verdict": verdict, "decided_by": by[:200], "decided_at": self._clock.now()}
        tables.upsert(connection, table, tables.PAIR, [row])

    # ------------------------------------------------------------------------------ running

    async def begin(self) -> int:
        """Note that a run begins; its number."""
        insert = tables.runs().insert().values(at=self._clock.now())
        statement = insert.returning(tables.runs().c.id)
        return int(await self._state.write(lambda c: c.execute(statement).scalar_one()))

    async def end(self, run: int, records: int) -> None:
        """Note that a run has gone through."""
        table = tables.runs()
        update = table.update().where(table.c.id == run).values(records=records)
        await self._state.write(lambda c: c.execute(update))

    async def known(self) -> AsyncIterator[Sequence[tuple[str, str, str, str, str | None]]]:
        """All records, some at a time: kind, id, entity, title, and facts as JSON."""
        import sqlalchemy as sa

        table = tables.members()
        place = sa.tuple_(table.c.kind, table.c.record_id)
        facts = sa.cast(table.c.facts, sa.String)
        columns = (table.c.kind, table.c.record_id, table.c.entity, table.c.title, facts)
        query = sa.select(*columns).order_by(*place.clauses)
        last: Key = ("", "")
        while True:
            more = query.where(place > sa.tuple_(*map(sa.literal, last))).limit(RECORDS)
            rows = await self._state.read(lambda c, q=more: c.execute(q).all())  # type: ignore[misc]
            if not rows:
                return
            yield [tuple(row) for row in rows]
            last = (rows[-1].kind, rows[-1].record_id)

    async def forget(self, keys: Sequence[Key]) -> None:
        """Records are gone from the CRM."""
        table = tables.members()

        def transaction(connection: Connection) -> None:
            for part in tables.portions(keys):
                gone = tables.among(part, table.c.kind, table.c.record_id)
                connection.execute(table.delete().where(gone))

        await self._state.write(transaction)

    async def settle(self, groups: Sequence[Group], run: int) -> int:
        """Give groups of records their ids; how many records changed."""
        return await self._state.write(lambda c: settle(c, groups, run))

    async def put_links(self, links: Sequence[Mapping[str, Any]], run: int) -> None:
        """Write what a run found of pairs."""
        rows = [{**link, "run": run} for link in links]
        await self._state.write(lambda c: tables.upsert(c, tables.links(), tables.PAIR, rows))

    async def forget_links(self, run: int) -> None:
        """Leave the links of *run* alone."""
        import sqlalchemy as sa

        table = tables.links()
        columns = [table.c[name] for name in tables.PAIR]
        some = sa.select(*columns).where(table.c.run != run).limit(RECORDS)
        delete = table.delete().where(sa.tuple_(*columns).in_(some))
        while await self._state.write(lambda c: c.execute(delete).rowcount):
            pass


def _entities(connection: Connection, ids: Sequence[str]) -> list[Entity]:
    table = tables.members()
    rows: dict[str, list[Any]] = {}
    for part in tables.portions(ids):
        for row in connection.execute(table.select().where(table.c.entity.in_(part))):
            rows.setdefault(row.entity, []).append(row)
    found = []
    for id in ids:
        records = sorted(rows.get(id, ()), key=lambda r: (r.since, natural((r.kind, r.record_id))))
        name = next((row.title for row in records if row.title), "")
        found.append(Entity(id, name, [(row.kind, row.record_id) for row in records]))
    return [entity for entity in found if entity.members]


def _links(connection: Connection, keys: Sequence[Key]) -> list[Link]:
    table = tables.links()
    rows: dict[tuple[Any, ...], Any] = {}
    for part in tables.portions(keys, 200):
        for kind, id in (("a_kind", "a_id"), ("b_kind", "b_id")):
            query = table.select().where(tables.among(part, table.c[kind], table.c[id]))
            rows |= {tuple(row[:4]): row for row in connection.execute(query)}
    return [_link(row) for row in sorted(rows.values(), key=_strength)]


def _strength(row: Any) -> tuple[Any, ...]:
    return (-row.weight, natural((row.a_kind, row.a_id)), natural((row.b_kind, row.b_id)))


def _link(row: Any) -> Link:
    a, b = (row.a_kind, row.a_id), (row.b_kind, row.b_id)
    return Link(a, b, row.score, row.doubt, row.reasons)


def _suggestions(connection: Connection, limit: int) -> list[Link]:
    import sqlalchemy as sa

    link, decision = tables.links(), tables.decisions()
    a, b = tables.members().alias("a"), tables.members().alias("b")
    decided = decision.select().where(*(decision.c[n] == link.c[n] for n in tables.PAIR)).exists()
    query = (
        sa.select(link)
        .join(a, (a.c.kind == link.c.a_kind) & (a.c.record_id == link.c.a_id))
        .join(b, (b.c.kind == link.c.b_kind) & (b.c.record_id == link.c.b_id))
        .where(a.c.entity != b.c.entity, ~decided)
        .order_by(link.c.weight.desc(), *(link.c[name] for name in tables.PAIR))
        .limit(limit)
    )
    return [_link(row) for row in connection.execute(query)]


def _decisions(connection: Connection, keys: Sequence[Key] | None) -> list[Decision]:
    table = tables.decisions()
    query = table.select().order_by(*(table.c[name] for name in tables.PAIR))
    if keys is not None:
        a = tables.among(keys, table.c.a_kind, table.c.a_id)
        query = query.where(a | tables.among(keys, table.c.b_kind, table.c.b_id))
    return [
        Decision(
            (row.a_kind, row.a_id),
            (row.b_kind, row.b_id),
            row.verdict,
            row.decided_by,
            aware(row.decided_at),
        )
        for row in connection.execute(query)
    ]


def _check_contradiction(connection: Connection, pair: tuple[Key, Key], verdict: str) -> None:
    """What was confirmed in a row, A is B and B is C, contradicts that A is not C."""
    decided = {(d.a, d.b): d.verdict for d in _decisions(connection, None)} | {pair: verdict}
    confirmed = [p for p, verdict in decided.items() if verdict == "confirm"]
    groups = cluster([], {}, confirmed=confirmed).groups
    for a, b in (p for p, verdict in decided.items() if verdict == "refuse"):
        if a in groups and b in groups and groups[a] is groups[b]:
            raise Conflict(
                f"{':'.join(a)} and {':'.join(b)} are refused to be one, but what is confirmed "
                "makes them one",
                hint="take one of these decisions back first: spark ingest explain",
            )


def _settle_again(connection: Connection, entities: Sequence[str]) -> None:
    """Join anew the records of *entities* alone, by the links and decisions there are."""
    import sqlalchemy as sa

    table = tables.members()
    rows = connection.execute(table.select().where(table.c.entity.in_(entities))).all()
    members = [Member((r.kind, r.record_id), r.title, r.facts) for r in rows]
    run = connection.execute(sa.select(sa.func.max(tables.runs().c.id))).scalar() or 1
    settle(connection, _joined(connection, members), run)


def _joined(connection: Connection, members: Sequence[Member]) -> Iterator[Group]:
    by_key = {member.key: member for member in members}
    keys = list(by_key)
    certain = [(link.a, link.b) for link in _links(connection, keys) if link.doubt is None]
    verdicts = _decisions(connection, keys)
    within = _Within(by_key)
    clustering = cluster(
        within(certain),
        {key: Facts(**(member.facts or {})) for key, member in by_key.items()},
        confirmed=within((d.a, d.b) for d in verdicts if d.verdict == "confirm"),
        refused={(d.a, d.b) for d in verdicts if d.verdict == "refuse"},
    )
    groups = {id(group): group for group in clustering.groups.values()}.values()
    alone = [[key] for key in by_key if key not in clustering.groups]
    return ([by_key[key] for key in group] for group in itertools.chain(groups, alone))


class _Within:
    """Pairs of which both are among some records."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = set(keys)

    def __call__(self, pairs: Iterable[tuple[Key, Key]]) -> list[tuple[Key, Key]]:
        return [pair for pair in pairs if self._keys.issuperset(pair)]
