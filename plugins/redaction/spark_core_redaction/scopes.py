"""Scopes: conversations or cases, within which a value has one placeholder.

A scope has a random secret, sealed with the vault's key. All else in it is sealed or digested with
what is derived from that secret: so it is unreadable once the scope is removed, and a new key for
the vault means to seal the secrets anew and nothing else.

A handle opens a scope; the vault knows nothing but its SHA-256, which is enough for 256 random
bits. A scope may also have a name of its caller's own. Whoever names it gets the same
placeholders; but the handles that they get open what they replaced themselves, and nothing else,
as a name may be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spark_core.errors import NotFound
from spark_core.state.times import aware

from . import tables
from .keys import KeyRing, Unsealable, VaultKey, derived, opened, sealed

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Lifetime", "Scope", "enter", "find", "is_handle", "reseal", "see", "sweep"]

_SECRET = 32
_HANDLE = re.compile("scope_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Lifetime:
    """How long a scope is kept after it was last used, and at most."""

    idle: timedelta
    most: timedelta


@dataclass(frozen=True)
class Scope:
    """A scope that is open. ``visible`` are the keys that its handle opens; None: all."""

    id: int
    secret: bytes
    handle: str
    visible: frozenset[str] | None

    @cached_property
    def sealing(self) -> bytes:
        """The key that what is in it is sealed with."""
        return derived(self.secret, "forms")

    @cached_property
    def _digesting(self) -> bytes:
        return derived(self.secret, "digests")

    def digest(self, *words: str) -> bytes:
        """A digest that nobody can make who has not got the scope's secret."""
        parts = (word.encode("utf-8", "surrogatepass") for word in words)
        joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._digesting, joined, hashlib.sha256)


def is_handle(text: str) -> bool:
    """Whether *text* has the form of a handle."""
    return _HANDLE.fullmatch(text) is not None


def enter(
    connection: Connection, ring: KeyRing, scope: str | None, now: datetime, lifetime: Lifetime
) -> Scope:
    """The scope to write into: that of a handle, or of a name, or a new one; it lives on.

    :raises NotFound: it is a handle that opens nothing (any more).
    """
    if scope is not None and is_handle(scope):
        found = find(connection, ring, scope, now)
    else:
        found = _named_or_new(connection, ring, scope, now, lifetime)
    _live_on(connection, found.id, now, lifetime)
    return found


def find(connection: Connection, ring: KeyRing, handle: str, now: datetime) -> Scope:
    """The scope that *handle* opens.

    :raises NotFound: there is none, or not any more.
    """
    digest = hashlib.sha256(handle.encode("utf-8", "surrogatepass")).digest()
    handles, scopes = tables.handles(), tables.scopes()
    query = handles.select().where(handles.c.digest == digest).with_for_update()
    known = connection.execute(query).one_or_none()
    if known is not None:
        query = scopes.select().where(scopes.c.id == known.scope, scopes.c.expires_at > now)
        row = connection.execute(query.with_for_update()).mappings().one_or_none()
        secret = _secret(ring, row) if row is not None else None
        if secret is not None:
            visible = None if known.forms is None else frozenset(known.forms.split())
            return Scope(known.scope, secret, handle, visible)
    raise NotFound(
        "there is no such scope (any more)", hint="scrub without a scope: that begins a new one"
    )


def see(connection: Connection, scope: Scope, keys: Iterable[str]) -> None:
    """Let the scope's handle open *keys*, too, where it does not open everything."""
    if scope.visible is None or scope.visible.issuperset(seen := set(keys)):
        return
    handles = tables.handles()
    digest = hashlib.sha256(scope.handle.encode()).digest()
    update = handles.update().where(handles.c.digest == digest)
    connection.execute(update.values(forms=" ".join(sorted(scope.visible | seen))))


def sweep(connection: Connection, now: datetime) -> int:
    """Remove what has expired, with all that is in it; say how many scopes that were."""
    scopes = tables.scopes()
    return connection.execute(scopes.delete().where(scopes.c.expires_at <= now)).rowcount


def reseal(connection: Connection, ring: KeyRing, limit: int) -> tuple[int, int]:
    """Seal secrets with the newest key that are sealed with a former one, *limit* at most.

    Says how many were, and how many cannot be as their key is not there.
    """
    _pass_gate(connection)
    keys = {key.id: key for key in ring.all()}
    newest = next(iter(keys.values()))
    scopes = tables.scopes()
    former = [id for id in keys if id != newest.id]
    query = scopes.select().where(scopes.c.key.in_(former)).limit(limit).with_for_update()
    rows = connection.execute(query).mappings().all()
    for row in rows:
        content = opened(keys[row["key"]].sealing, row["sealed"], _PLACE)
        connection.execute(
            scopes.update().where(scopes.c.id == row["id"]).values(_sealed(newest, content))
        )
    return len(rows), _count(connection, scopes.c.key.not_in(keys))


def _count(connection: Connection, where: Any) -> int:
    import sqlalchemy as sa

    query = sa.select(sa.func.count()).select_from(tables.scopes()).where(where)
    return int(connection.execute(query).scalar_one())


# ------------------------------------------------------------------------------------- secrets

_PLACE = b"scope"


def _sealed(key: VaultKey, content: bytes) -> dict[str, object]:
    """The columns of a scope whose secret, and then name, are *content*."""
    name = content[_SECRET:].decode("utf-8", "surrogatepass")
    return {
        "key": key.id,
        "name": key.name(name) if name else None,
        "sealed": sealed(key.sealing, content, _PLACE),
    }


def _secret(ring: KeyRing, row: Any) -> bytes | None:
    """The secret of a scope; None where the vault's key is another one now."""
    for key in ring.all():
        if key.id == row["key"]:
            try:
                return opened(key.sealing, row["sealed"], _PLACE)[:_SECRET]
            except Unsealable:
                return None
    return None


def _pass_gate(connection: Connection) -> None:
    """Wait until nobody else makes scopes, or seals them anew.

    Who reads the keys behind it never seals with one that has just been taken out of use.
    """
    connection.execute(tables.gate().select().with_for_update())


# ------------------------------------------------------------------------------------- new ones


def _named_or_new(
    connection: Connection, ring: KeyRing, name: str | None, now: datetime, lifetime: Lifetime
) -> Scope:
    _pass_gate(connection)
    sweep(connection, now)
    keys = ring.all()
    row = _by_name(connection, keys, name) if name else None
    secret = _secret(ring, row) if row is not None else None
    if row is None or secret is None:
        secret = secrets.token_bytes(_SECRET)
        content = secret + (name or "").encode("utf-8", "surrogatepass")
        number = _insert(connection, keys[0], content, now, lifetime)
    else:
        number = row["id"]
    return _with_handle(connection, number, secret, all=not name)


def _by_name(connection: Connection, keys: Sequence[VaultKey], name: str) -> Any:
    scopes = tables.scopes()
    query = scopes.select().where(scopes.c.name.in_([key.name(name) for key in keys]))
    return connection.execute(query.with_for_update()).mappings().first()


def _insert(
    connection: Connection, key: VaultKey, content: bytes, now: datetime, lifetime: Lifetime
) -> int:
    ends_at = now + lifetime.most
    values = {**_sealed(key, content), "ends_at": ends_at, "expires_at": ends_at}
    insert = tables.scopes().insert().values(values).returning(tables.scopes().c.id)
    return int(connection.execute(insert).scalar_one())


def _with_handle(connection: Connection, number: int, secret: bytes, *, all: bool) -> Scope:
    handle = f"scope_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(handle.encode()).digest()
    values = {"digest": digest, "scope": number, "forms": None if all else ""}
    connection.execute(tables.handles().insert().values(values))
    return Scope(number, secret, handle, None if all else frozenset())


def _live_on(connection: Connection, number: int, now: datetime, lifetime: Lifetime) -> None:
    scopes = tables.scopes()
    row = connection.execute(scopes.select().where(scopes.c.id == number)).mappings().one()
    until = min(aware(row["ends_at"]), now + lifetime.idle)
    connection.execute(scopes.update().where(scopes.c.id == number).values(expires_at=until))
