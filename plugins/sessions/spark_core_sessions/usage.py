"""``usage``: which tools, subagents, MCP servers and commands are used, and which calls failed.

Of what was said, and of what a tool was given, nothing is kept. An event has the same id
whenever it is seen, so one that is seen again is not counted again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from spark_core.contracts.sessions import ProcessorResult, SessionFile
from spark_core.state import State

from .messages import blocks_of, text_of
from .tables import storable, table

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["Event", "count_usage", "events_of", "failed_calls"]

_SUBAGENTS: Final = frozenset({"Task", "Agent"})

_COMMAND: Final = re.compile(r"<command-name>\s*/?([\w:.-]{1,100})\s*</command-name>")

_BATCH: Final = 500


@dataclass(frozen=True)
class Event:
    """Something that was used."""

    id: str
    session: str
    username: str
    at: str
    kind: str
    name: str
    tool_use_id: str
    failed: bool = False


async def count_usage(session: SessionFile, state: State) -> ProcessorResult:
    """Write down what a session used that is not yet."""
    added, left = 0, session.records(new=True)
    while records := list(islice(left, _BATCH)):
        events = {event.id: event for r in records for event in events_of(r, session)}
        failed = {call for record in records for call in failed_calls(record, session)}
        added += await state.write(partial(_write, events=events, failed=failed))
    return ProcessorResult(added)


def events_of(record: Mapping[str, Any], session: SessionFile) -> Iterator[Event]:
    """What *record* of *session* tells that was used."""
    for block in blocks_of(record):
        if block.get("type") == "tool_use":
            yield _event(record, session, *_of_tool(block), _word(block.get("id")))
    if record.get("type") == "user" or record.get("role") == "user":
        for command in _COMMAND.findall(text_of(record)):
            yield _event(record, session, "slash_command", command, "")


def _of_tool(block: Mapping[str, Any]) -> tuple[str, str]:
    """Of which kind the use of a tool is, and the name of what was used."""
    tool, given = _word(block.get("name")), block.get("input")
    if tool in _SUBAGENTS:
        agent = given.get("subagent_type") if isinstance(given, dict) else None
        return "subagent", _word(agent) or tool
    return ("mcp_call" if tool.startswith("mcp__") else "tool_use"), tool


def _event(
    record: Mapping[str, Any], session: SessionFile, kind: str, name: str, tool_use_id: str
) -> Event:
    run, uuid = _session_of(record, session), _word(record.get("uuid"))
    is_command = kind == "slash_command"
    of = (run, uuid, tool_use_id, kind, "" if is_command else name, name if is_command else "")
    digest = hashlib.sha256("|".join(of).encode(errors="replace")).hexdigest()
    at = _word(record.get("timestamp"))[:40]
    return Event(digest, run, storable(session.username, 300), at, kind, name, tool_use_id)


def _session_of(record: Mapping[str, Any], session: SessionFile) -> str:
    """The session's own id, which a copy of its file has, too."""
    return _word(record.get("sessionId")) or storable(session.key)


def failed_calls(record: Mapping[str, Any], session: SessionFile) -> Iterator[tuple[str, str]]:
    """The session and the id of each use of a tool that *record* says has failed."""
    for block in blocks_of(record):
        if block.get("type") == "tool_result" and block.get("is_error") is True:
            yield _session_of(record, session), _word(block.get("tool_use_id"))


def _word(value: Any) -> str:
    return storable(value, 200) if isinstance(value, str) else ""


def _write(
    connection: Connection, events: Mapping[str, Event], failed: Iterable[tuple[str, str]]
) -> int:
    """Write down the *events* that are new, and which calls *failed*; gives how many were new."""
    import sqlalchemy as sa

    used = _events()
    query = sa.select(used.c.id).where(used.c.id.in_(list(events)))
    known = set(connection.execute(query).scalars())
    if new := [asdict(event) for id, event in events.items() if id not in known]:
        connection.execute(used.insert(), new)
    for session, call in failed:
        row = (used.c.session == session, used.c.tool_use_id == call)
        connection.execute(used.update().where(*row).values(failed=True))
    return len(new)


def _events() -> TableClause:
    columns = ("id", "session", "username", "at", "kind", "name", "tool_use_id", "failed")
    return table("session_usage_events", *columns)
