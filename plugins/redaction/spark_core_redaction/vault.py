"""The vault: which placeholder stands for what, sealed, over all calls, processes and hosts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from spark_core import DataDirectory
from spark_core.clock import Clock
from spark_core.errors import NotFound
from spark_core.state import Leases, State

from . import scopes, tables
from .forms import Form, Mention
from .keys import KeyRing, opened, sealed
from .placeholders import written
from .scopes import Lifetime, Scope
from .settings import RedactionSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

__all__ = ["Vault", "expire", "open_vault"]

T = TypeVar("T")

#: How many entities are asked for, or scopes sealed anew, at once.
_BATCH = 400

#: How often expired scopes are looked for, in seconds. Nobody can open them meanwhile.
_SWEEP_S = 600.0


@asynccontextmanager
async def open_vault(
    state: State, clock: Clock, data: DataDirectory, leases: Leases, settings: RedactionSettings
) -> AsyncIterator[Vault]:
    """The vault in the state."""
    key = settings.vault_key.get_secret_value() if settings.vault_key else None
    ring = KeyRing(key, data.path / "vault.key")
    lifetime = Lifetime(
        timedelta(seconds=settings.scope_idle_s), timedelta(seconds=settings.scope_max_s)
    )
    yield Vault(state, clock, leases, ring, lifetime)


async def expire(vault: Vault) -> None:
    """Remove what has expired, from now on."""
    while True:
        await vault.sweep()
        await asyncio.sleep(_SWEEP_S)


class Vault:
    """Gives placeholders to what is mentioned, and gives back what they stand for."""

    def __init__(
        self, state: State, clock: Clock, leases: Leases, ring: KeyRing, lifetime: Lifetime
    ) -> None:
        self._state = state
        self._clock = clock
        self._leases = leases
        self._ring = ring
        self._lifetime = lifetime

    async def replace(
        self, mentions: Sequence[Mention], scope: str | None = None
    ) -> tuple[str, Mapping[Mention, str]]:
        """The keys of the placeholders of *mentions*, and the handle that opens them.

        *scope* is a handle, a name, or None for a scope of its own.

        :raises NotFound: *scope* is a handle that opens nothing (any more).
        """

        def transaction(connection: Connection, now: datetime) -> tuple[str, Mapping[Mention, str]]:
            entered = scopes.enter(connection, self._ring, scope, now, self._lifetime)
            keys = _Numbering(connection, entered).keys(mentions)
            scopes.see(connection, entered, keys.values())
            return entered.handle, keys

        return await self._run(self._state.write, transaction)

    async def forms(self, handle: str) -> Mapping[str, Form]:
        """What *handle* opens, by the keys of the placeholders.

        Where nothing but parts or variants of something were mentioned, models may still name
        the whole: that is its first form then.

        :raises NotFound: *handle* opens nothing (any more).
        """

        def transaction(connection: Connection, now: datetime) -> Mapping[str, Form]:
            scope = scopes.find(connection, self._ring, handle, now)
            forms, firsts = dict[str, Form](), dict[str, Form]()
            for row in _rows(connection, scope, tables.forms().c.scope == scope.id):
                key = _key(row)
                if scope.visible is None or key in scope.visible:
                    forms[key] = _opened(scope, row)
                    firsts.setdefault(written(row.kind, row.number, "", 1), forms[key])
            return {**firsts, **forms}

        try:
            return await self._run(self._state.read, transaction)
        except NotFound:  # or its secret was sealed anew between the look at it and at the keys
            return await self._run(self._state.read, transaction)

    async def sweep(self) -> int:
        """Remove scopes that have expired; how many there were."""
        return await self._run(self._state.write, scopes.sweep)

    async def rotate(self) -> tuple[int, int]:
        """Seal every scope with a new key, or with the first of those that are configured.

        It may be stopped at any moment and run again. Says how many were sealed, and how many
        could not be, as the key that they are sealed with is not there.

        :raises LeaseHeld: somebody else does so just now.
        """
        done, lost = 0, 0
        async with self._leases.hold("redaction.rotate"):
            if self._ring.own:
                await asyncio.to_thread(self._ring.begin)
            batch = _BATCH
            while batch == _BATCH:
                batch, lost = await self._state.write(
                    lambda c: scopes.reseal(c, self._ring, _BATCH)
                )
                done += batch
            if self._ring.own:
                await asyncio.to_thread(self._ring.end)
        return done, lost

    async def _run(
        self, run: Callable[..., Any], transaction: Callable[[Connection, datetime], T]
    ) -> T:
        result: T = await run(lambda connection: transaction(connection, self._clock.now()))
        return result


class _Numbering:
    """Numbers what is mentioned in a scope, within one transaction that has locked it."""

    def __init__(self, connection: Connection, scope: Scope) -> None:
        self._connection = connection
        self._scope = scope
        self._known: dict[bytes, str] = {}
        self._numbers: dict[bytes, int] = {}
        self._variants: dict[tuple[bytes, str], int] = {}
        self._highest = _highest(connection, scope)

    def keys(self, mentions: Sequence[Mention]) -> Mapping[Mention, str]:
        """The key of each, which is new where it was not mentioned before."""
        wanted = {m: (self._entity(m), self._written(m)) for m in dict.fromkeys(mentions)}
        self._look_up({entity for entity, _ in wanted.values()})
        new = [self._new(m, *wanted[m]) for m in wanted if wanted[m][1] not in self._known]
        if new:
            self._connection.execute(tables.forms().insert(), new)
        return {m: self._known[digest] for m, (_, digest) in wanted.items()}

    def _entity(self, mention: Mention) -> bytes:
        return self._scope.digest("entity", mention.kind, mention.identity)

    def _written(self, mention: Mention) -> bytes:
        form = mention.form
        words = (mention.kind, mention.identity, mention.part, form.text, form.raw)
        return self._scope.digest("written", *words)

    def _look_up(self, entities: Iterable[bytes]) -> None:
        column = tables.forms().c.entity
        for some in _batches(sorted(entities)):
            for row in _rows(self._connection, self._scope, column.in_(some)):
                self._known[bytes(row.written)] = _key(row)
                entity = bytes(row.entity)
                self._numbers[entity] = row.number
                slot = entity, row.part
                self._variants[slot] = max(row.variant, self._variants.get(slot, 0))

    def _new(self, mention: Mention, entity: bytes, digest: bytes) -> dict[str, object]:
        """The row of something that was never written so in this scope."""
        if entity not in self._numbers:
            number = self._highest[mention.kind] = self._highest.get(mention.kind, 0) + 1
            self._numbers[entity] = number
        slot = entity, mention.part
        self._variants[slot] = self._variants.get(slot, 0) + 1
        place = (mention.kind, self._numbers[entity], mention.part, self._variants[slot])
        self._known[digest] = key = written(*place)
        return {
            **dict(zip(("kind", "number", "part", "variant"), place, strict=True)),
            "scope": self._scope.id,
            "entity": entity,
            "written": digest,
            "sealed": _sealed(self._scope, key, mention.form),
        }


def _highest(connection: Connection, scope: Scope) -> dict[str, int]:
    """The highest number of each kind."""
    import sqlalchemy as sa

    forms = tables.forms()
    query = sa.select(forms.c.kind, sa.func.max(forms.c.number)).where(forms.c.scope == scope.id)
    rows = connection.execute(query.group_by(forms.c.kind)).all()
    return {row[0]: row[1] for row in rows}


def _rows(connection: Connection, scope: Scope, where: Any) -> Sequence[Row[Any]]:
    forms = tables.forms()
    query = forms.select().where(forms.c.scope == scope.id, where).order_by(forms.c.id)
    return connection.execute(query).all()


def _batches(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _key(row: Row[Any]) -> str:
    return written(row.kind, row.number, row.part, row.variant)


def _sealed(scope: Scope, key: str, form: Form) -> bytes:
    content = json.dumps([form.text, form.raw]).encode()
    return sealed(scope.sealing, content, key.encode())


def _opened(scope: Scope, row: Row[Any]) -> Form:
    text, raw = json.loads(opened(scope.sealing, bytes(row.sealed), _key(row).encode()))
    return Form(text, raw)
