"""``usage``: what is counted, under which id, and what is not kept."""

from __future__ import annotations

import hashlib

import pytest
import spark_core_sessions
import sqlalchemy as sa
from spark_core_sessions.usage import count_usage

from spark_core.contracts.sessions import ProcessorResult
from spark_core.testing.sessions import SessionProcessorConformance, session_file

pytestmark = pytest.mark.anyio


def used(id, name, given=None, uuid="u1"):
    block = {"type": "tool_use", "id": id, "name": name, "input": given or {}}
    return {
        "type": "assistant",
        "uuid": uuid,
        "sessionId": "s1",
        "timestamp": "2030-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": [block]},
    }


def came_back(id, *, failed):
    block = {"type": "tool_result", "tool_use_id": id, "is_error": failed, "content": "private"}
    return {"type": "user", "sessionId": "s1", "message": {"role": "user", "content": [block]}}


COMMAND = {
    "type": "user",
    "uuid": "u9",
    "sessionId": "s1",
    "message": {"role": "user", "content": "<command-name>/review</command-name> private"},
}


@pytest.fixture
def count(state, tmp_path):
    """Counts a session of *records*; gives how many events are new, and every event."""

    async def count(*records, start=0, name="a.jsonl"):
        session = session_file(tmp_path / "ada" / name, *records, start=start)
        result = await count_usage(session, state)
        query = sa.text("SELECT * FROM session_usage_events ORDER BY tool_use_id")
        rows = await state.read(lambda c: c.execute(query).mappings().all())
        return result, [dict(row) for row in rows]

    return count


class TestUsage(SessionProcessorConformance):
    """It keeps the rules of every processor."""

    processor = spark_core_sessions.spark_register_session_processors()[1]

    @pytest.fixture
    def run(self, state):
        return lambda session: count_usage(session, state)


async def test_tools_subagents_mcp_calls_and_commands_are_told_apart(count):
    result, events = await count(
        used("t1", "Read", {"path": "private"}),
        used("t2", "Task", {"subagent_type": "reviewer", "prompt": "private"}),
        used("t3", "Agent"),
        used("t4", "mcp__crm__search", {"query": "private"}),
        COMMAND,
    )
    assert result == ProcessorResult(5)
    assert [(e["kind"], e["name"]) for e in events] == [
        ("slash_command", "review"),
        ("tool_use", "Read"),
        ("subagent", "reviewer"),
        ("subagent", "Agent"),
        ("mcp_call", "mcp__crm__search"),
    ]
    assert "private" not in str(events)


async def test_an_error_is_found_by_the_id_of_the_call(count):
    _, events = await count(
        used("t1", "Read"),
        used("t2", "Read"),
        came_back("t1", failed=True),
        came_back("t2", failed=False),
    )
    assert [bool(e["failed"]) for e in events] == [True, False]


async def test_an_error_may_come_in_a_later_run(count, tmp_path):
    """The call was counted by the run before."""
    call = used("t1", "Read")
    await count(call)
    size = (tmp_path / "ada" / "a.jsonl").stat().st_size
    result, [event] = await count(call, came_back("t1", failed=True), start=size)
    assert (result, bool(event["failed"])) == (ProcessorResult(0), True)


async def test_ids_are_idempotent(count):
    """Seen again, also in a copy of the file, an event is the same."""
    first, _ = await count(used("t1", "Read"), COMMAND)
    again, events = await count(used("t1", "Read"), COMMAND, name="copy.jsonl")
    assert (first.items_count, again.items_count, len(events)) == (2, 0, 2)


async def test_an_id_is_made_of_session_uuid_call_kind_tool_and_command(count):
    _, [command, call] = await count(used("t1", "Read"), COMMAND)
    assert call["id"] == hashlib.sha256(b"s1|u1|t1|tool_use|Read|").hexdigest()
    assert command["id"] == hashlib.sha256(b"s1|u9||slash_command||review").hexdigest()


async def test_records_without_a_session_of_their_own_are_their_files(count):
    record = {k: v for k, v in used("t1", "Read").items() if k != "sessionId"}
    _, [event] = await count(record)
    assert event["session"] == "ada/a.jsonl"


async def test_more_than_a_batch_is_counted_once(count):
    records = [used(f"t{number}", "Read") for number in range(1200)]
    result, events = await count(*records)
    assert result.items_count == len(events) == 1200
