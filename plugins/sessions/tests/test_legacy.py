"""What the original knew of session files is taken over."""

from __future__ import annotations

import hashlib

import pytest
import sqlalchemy as sa
from spark_core_sessions.legacy import LEGACY, adopt_legacy
from spark_core_sessions.states import SessionStates

from spark_core.state import State

pytestmark = pytest.mark.anyio

ROW = "'ada/a.jsonl', 'ada', '2029-12-31 23:00:00', 3, 'abc'"


def legacy(connection, *rows):
    connection.execute(
        sa.text(
            f"CREATE TABLE {LEGACY} (session_file VARCHAR(500) PRIMARY KEY, username VARCHAR(100), "
            "processed_at TIMESTAMP, items_extracted INTEGER, file_hash VARCHAR(64))"
        )
    )
    for row in rows:
        connection.execute(sa.text(f"INSERT INTO {LEGACY} VALUES ({row})"))


async def rows(state):
    query = sa.text(
        "SELECT processor_name, session_file, username, items_extracted, file_hash "
        "FROM session_processor_state ORDER BY processor_name"
    )
    return await state.read(lambda c: [tuple(row) for row in c.execute(query)])


async def test_existing_rows_become_verification_processor_rows(state):
    await state.write(lambda c: legacy(c, ROW))
    assert await state.write(adopt_legacy) == 1
    assert await rows(state) == [("verification", "ada/a.jsonl", "ada", 3, "abc")]
    assert not await state.read(lambda c: sa.inspect(c).has_table(LEGACY))


async def test_migration_idempotent_when_it_is_done_again(state):
    """Without the table, and with one that comes back: what is known by now stands."""
    await state.write(lambda c: legacy(c, ROW))
    await state.write(adopt_legacy)
    assert await state.write(adopt_legacy) == 0
    await state.write(lambda c: legacy(c, ROW.replace("abc", "older"), ROW.replace("a.j", "b.j")))
    assert await state.write(adopt_legacy) == 1
    assert [row[4] for row in sorted(await rows(state))] == ["abc", "abc"]


async def test_a_moment_without_a_zone_is_utc(state):
    await state.write(lambda c: legacy(c, ROW))
    await state.write(adopt_legacy)
    query = sa.text("SELECT processed_at FROM session_processor_state").columns(
        processed_at=sa.DateTime(timezone=True)
    )
    found = await state.read(lambda c: c.execute(query).scalar_one())
    assert found.isoformat()[:19] == "2029-12-31T23:00:00"


@pytest.mark.usefixtures("in_this_process")
async def test_a_file_that_the_original_did_is_not_done_again(spark, run, folder):
    """Its hash is that of the whole file; what was appended since is new."""
    file = folder.write("ada/a.jsonl", {"n": 1})
    digest = hashlib.md5(file.read_bytes()).hexdigest()
    state = await spark.resolver.get(State)
    await state.write(lambda c: legacy(c, ROW.replace("abc", digest)))
    await spark.resolver.get(SessionStates)  # takes them over when it is opened
    rename = "UPDATE session_processor_state SET processor_name = 'count'"
    await state.write(lambda c: c.execute(sa.text(rename)))
    answer = await run()
    assert (answer.details.scanned, answer.details.skipped) == (1, 1)
    assert (await run()).details.scanned == 0
    folder.append("ada/a.jsonl", {"n": 2})
    await run()
    assert folder.numbers() == [2]
