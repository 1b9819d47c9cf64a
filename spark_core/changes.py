"""What operations change, as the audit tells it, and how a change is taken back.

An operation that can be undone names :class:`Change` as a need and tells it what was before and
what is now. Both stand in the audit, and ``audit.undo`` hands them to the operation's ``undo``::

    async def tag(request: TagRequest, tags: Tags, change: Change) -> Tagged:
        before, after = await tags.add(request.id, request.tag)
        change.tell(f"thing {request.id}", before=before, after=after)

    async def undo_tag(change: Change, tags: Tags) -> None:
        await tags.replace(change.after, by=change.before)  # Conflict where it is not `after` now

    Operation("things.tag", tag, Effect.WRITE, undo=undo_tag)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from .containment import contained
from .errors import Conflict, NotFound
from .operations import Operation
from .plugins import Plugins
from .references import resolved
from .resolution import Resolver
from .state import AuditEntry, AuditLog

__all__ = ["Caller", "Change", "undo"]

#: What was, or is: fields as JSON has them, None where there was nothing.
Fields = Mapping[str, Any] | None


@dataclass(frozen=True)
class Caller:
    """A need: on whose behalf an operation runs, as the audit names them."""

    name: str


@dataclass
class Change:
    """A need of what writes: what it changed. Nothing is told where nothing changed.

    What it is told stands in the audit for ever: no secrets, and of private text only what our
    own state was given to keep.
    """

    resource: str = ""
    before: Fields = None
    after: Fields = None
    undoes: int | None = None
    action: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)

    def tell(self, resource: str, *, before: Fields, after: Fields) -> None:
        """Say that *resource* was *before* and is *after* now."""
        self.resource, self.before, self.after = resource[:500], before, after

    def note(self, action: str, resource: str, counts: Mapping[str, Any]) -> None:
        """Say what was done in a word of its own, to what, and how much of it.

        That stands in the audit instead of the operation's name, and cannot be taken back.
        """
        self.action, self.resource, self.counts = action, resource[:500], counts

    def detail(self, operation: Operation) -> dict[str, Any]:
        """What the audit says of it; nothing where nothing was told."""
        if not self.resource or self.action:
            return dict(self.counts)
        detail: dict[str, Any] = {"before": _plain(self.before), "after": _plain(self.after)}
        if operation.tool:
            detail["tool"] = operation.tool_name
        if self.undoes is not None:
            detail["undoes"] = self.undoes
        return detail


class UndoRequest(BaseModel, defer_build=True):
    """Which change to take back."""

    id: int = Field(ge=1, lt=2**63, description="The id of its entry in the audit.")


class Undone(BaseModel, defer_build=True):
    """What was taken back."""

    id: int = Field(description="The entry of what was done.")
    action: str
    resource: str
    before: dict[str, Any] | None = Field(description="What it was before it was undone.")
    after: dict[str, Any] | None = Field(description="What it is now: as before it was done.")


async def undo(
    request: UndoRequest,
    audit: AuditLog,
    resolver: Resolver,
    plugins: Plugins,
    change: Change,
    caller: Caller,
) -> Undone:
    """Take back what an audit entry tells, if nothing has changed it since.

    What was undone cannot be undone again, and an undo is not undone: do it once more instead.
    """
    entry = await audit.entry(request.id)
    done = _change_of(entry)
    if again := await audit.undoing(entry.id):
        raise Conflict(f"entry {entry.id} was undone before, by {again.actor} (entry {again.id})")
    await _take_back(entry, {Change: done, Caller: caller}, resolver, plugins)
    change.tell(done.resource, before=done.after, after=done.before)
    change.undoes = entry.id
    return Undone(
        id=entry.id,
        action=entry.action,
        resource=done.resource,
        before=_plain(done.after),
        after=_plain(done.before),
    )


def _plain(fields: Fields) -> dict[str, Any] | None:
    return None if fields is None else dict(fields)


def _change_of(entry: AuditEntry) -> Change:
    """What *entry* tells.

    :raises Conflict: it tells of nothing that could be taken back.
    """
    if "undoes" in entry.detail:
        raise Conflict(f"entry {entry.id} is an undo", hint="do again what it took back")
    if "after" not in entry.detail:  # what failed later may have changed something all the same
        raise Conflict(f"entry {entry.id} ({entry.action}: {entry.outcome}) changed nothing")
    return Change(entry.resource, entry.detail["before"], entry.detail["after"])


async def _take_back(
    entry: AuditEntry, given: Mapping[Any, object], resolver: Resolver, plugins: Plugins
) -> None:
    by_name = {operation.name: operation for operation in plugins.operations()}
    operation = by_name.get(entry.action)
    if operation is None:
        raise NotFound(f"nothing installed offers {entry.action} any more, nor its undoing")
    if operation.undo is None:
        raise Conflict(f"{entry.action} cannot be undone")
    function = resolved(operation.undo)
    with contained(f"undoing {entry.action}"):
        await function(**await resolver.fill(function, given))
