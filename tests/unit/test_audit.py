"""The audit log: who did what, and nobody takes it back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from spark_core.errors import Unavailable
from spark_core.state import AuditLog, State
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def audit(state: State, spark_clock: ManualClock) -> AuditLog:
    return AuditLog(state, spark_clock)


async def test_an_entry_is_kept_as_it_was_recorded(
    audit: AuditLog, spark_clock: ManualClock
) -> None:
    """Every field comes back, the time aware and in UTC."""
    await audit.record("ada", "swap", resource="vllm", outcome="conflict", detail={"count": 3})
    [entry] = await audit.entries()
    assert (entry.actor, entry.action, entry.resource) == ("ada", "swap", "vllm")
    assert (entry.outcome, entry.detail, entry.at) == ("conflict", {"count": 3}, spark_clock.now())
    assert entry.at.utcoffset() is not None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "UPDATE audit SET outcome = 'ok' WHERE id = 1",
        "DELETE FROM audit WHERE id = 1",
    ],
)
async def test_the_database_refuses_changes(audit: AuditLog, state: State, statement: str) -> None:
    """No statement changes or deletes an entry, whoever sends it."""
    await audit.record("ada", "swap")
    with pytest.raises(Unavailable, match="only be added to"):
        await state.write(lambda c: c.exec_driver_sql(statement))
    assert [entry.actor for entry in await audit.entries()] == ["ada"]


async def test_truncate_is_refused_too(postgresql_url: str, spark_clock: ManualClock) -> None:
    """PostgreSQL's TRUNCATE passes by the triggers of DELETE, and is refused by its own."""
    async with State.open(postgresql_url) as state:
        await AuditLog(state, spark_clock).record("ada", "swap")
        with pytest.raises(Unavailable, match="only be added to"):
            await state.write(lambda c: c.exec_driver_sql("TRUNCATE audit"))


async def test_replacing_is_refused_too(tmp_path: Path, spark_clock: ManualClock) -> None:
    """SQLite's INSERT OR REPLACE passes by the triggers of DELETE, and is refused by its own."""
    replace = (
        "INSERT OR REPLACE INTO audit SELECT id, at, 'x', action, resource, outcome, detail, start"
    )
    async with State.open(tmp_path / "state.db") as state:
        audit = AuditLog(state, spark_clock)
        await audit.record("ada", "swap")
        with pytest.raises(Unavailable, match="only be added to"):
            await state.write(lambda c: c.exec_driver_sql(f"{replace} FROM audit"))
        assert [entry.actor for entry in await audit.entries()] == ["ada"]


async def test_pages_follow_each_other_without_gap_or_overlap(audit: AuditLog) -> None:
    """Paging by ``before`` gives every entry once, the newest first, though others are added."""
    for number in range(7):
        await audit.record("ada", f"action {number}")
    seen: list[str] = []
    before = None
    while page := await audit.entries(limit=3, before=before):
        seen += [entry.action for entry in page]
        before = page[-1].id
        await audit.record("bob", "in between")
    assert seen == [f"action {number}" for number in range(6, -1, -1)]


async def test_entries_of_one_action(audit: AuditLog) -> None:
    """The filter is by the whole name of the action."""
    for action in ("swap", "swap.undo", "swap"):
        await audit.record("ada", action)
    assert [entry.action for entry in await audit.entries(action="swap")] == ["swap", "swap"]
    assert await audit.entries(action="swa") == []


async def test_an_end_takes_the_place_of_its_start(audit: AuditLog) -> None:
    """What has ended is listed once; what has not is listed as started."""
    first = await audit.start("ada", "swap")
    await audit.start("bob", "swap")
    await audit.record("ada", "swap", start=first)
    assert [(e.actor, e.outcome) for e in await audit.entries()] == [
        ("ada", "ok"),
        ("bob", "started"),
    ]


async def test_only_a_start_gives_up_its_place(audit: AuditLog) -> None:
    """Whatever is added, what was done stays listed."""
    done = await audit.record("ada", "swap")
    await audit.record("bob", "swap", start=done)
    assert [entry.actor for entry in await audit.entries()] == ["bob", "ada"]


async def test_an_older_log_is_kept(tmp_path: Path, spark_clock: ManualClock) -> None:
    """Entries from before starts were written are listed as they were."""
    file = tmp_path / "state.db"
    async with State.open(file) as state:
        await AuditLog(state, spark_clock).record("ada", "swap")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP INDEX ix_audit_start")
        connection.execute("ALTER TABLE audit DROP COLUMN start")
        connection.execute("UPDATE schema_version_core SET version_num = '0001'")
    async with State.open(file) as state:
        audit = AuditLog(state, spark_clock)
        await audit.record("bob", "swap")
        assert [entry.actor for entry in await audit.entries()] == ["bob", "ada"]


async def test_a_hostile_actor_is_only_text(audit: AuditLog, state: State) -> None:
    """What is recorded is bound, never part of a statement."""
    actor = "'); DROP TABLE audit; --"
    await audit.record(actor, "swap")
    assert [entry.actor for entry in await audit.entries()] == [actor]
    assert await state.read(lambda c: sa.inspect(c).has_table("audit"))
