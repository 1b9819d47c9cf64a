"""Operations as tools, as an independent client sees them over both transports."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from mcp import Client, MCPError
from mcp.client.stdio import stdio_client
from mcp_types import INVALID_PARAMS

from .conftest import Connect, Home, Server, text_of

pytestmark = pytest.mark.anyio


async def test_tools_are_operations_that_say_so(connect: Connect) -> None:
    """By the name that they say or their own; with schemas, and what is known of their effect."""
    async with connect() as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
    assert {"measure", "probe_who", "probe_change", "search", "audit_undo"} <= tools.keys()
    assert not {"probe_touch", "probe_measure", "ingest_backfill", "swap_now"} & tools.keys()
    measure = tools["measure"]
    assert measure.description == "Measure a text.\n\nBlanks count."
    assert measure.input_schema["properties"]["times"]["type"] == "integer"
    assert measure.output_schema is not None
    assert measure.output_schema["required"] == ["length"]


@pytest.mark.parametrize(
    ("name", "reads", "destroys", "idempotent"),
    [
        ("measure", True, False, True),
        ("probe_change", False, True, True),
        ("audit_undo", False, True, False),
    ],
)
async def test_annotations_follow_from_the_effect(
    connect: Connect, name: str, reads: bool, destroys: bool, idempotent: bool
) -> None:
    """What can be undone destroys nothing; PUT and DELETE may be repeated; nothing goes out."""
    async with connect() as session:
        (tool,) = (t for t in (await session.list_tools()).tools if t.name == name)
    hints = tool.annotations
    assert hints is not None
    assert (hints.read_only_hint, hints.destructive_hint) == (reads, destroys)
    assert (hints.idempotent_hint, hints.open_world_hint) == (idempotent, False)


async def test_a_call_gives_text_and_structure(connect: Connect) -> None:
    """Whatever the tool prints, in Python, in C or by a child, and though it reads stdin."""
    async with connect() as session:
        result = await session.call_tool("measure", {"text": "abc", "times": 2})
        assert (result.is_error, result.structured_content) == (False, {"length": 6})
        assert text_of(result) == '{"length":6}'


async def test_the_audit_knows_who_asks(connect: Connect) -> None:
    """The user or the address, and what the agent's program calls itself."""
    async with connect() as session:
        caller = text_of(await session.call_tool("probe_who", {}))
    assert caller.startswith('{"text":"mcp ')
    assert " mcp" in caller.removeprefix('{"text":"mcp')  # the SDK's client is called mcp


# -------------------------------------------------------------------------------- what goes wrong


async def test_a_wrong_request_is_a_tools_error(connect: Connect) -> None:
    """It says where, so that the agent can do better, and the server lives on."""
    async with connect() as session:
        result = await session.call_tool("measure", {"text": 5, "txt": "?"})
        assert result.is_error
        said = text_of(result)
        assert "at /text: Input should be a valid string" in said
        assert "at /txt: there is no such field; did you mean 'text'?" in said
        assert not (await session.call_tool("measure", {})).is_error


async def test_an_error_has_its_message_and_its_hint(connect: Connect) -> None:
    async with connect() as session:
        result = await session.call_tool("audit_undo", {"id": 999})
    assert result.is_error
    assert text_of(result) == "not-found: there is no audit entry 999\nhint: spark audit list"


async def test_what_is_unexpected_is_not_told(connect: Connect) -> None:
    """Its text may quote what is private; the server goes on."""
    async with connect() as session:
        result = await session.call_tool("probe_fail", {"text": "private"})
        assert result.is_error
        assert "private" not in text_of(result)
        assert not (await session.call_tool("measure", {})).is_error


async def test_a_tool_that_cancels_itself_has_failed(connect: Connect) -> None:
    async with connect() as session:
        assert (await session.call_tool("probe_stop", {})).is_error
        assert not (await session.call_tool("measure", {})).is_error


async def test_an_unknown_tool_is_a_protocol_error(connect: Connect) -> None:
    async with connect() as session:
        with pytest.raises(MCPError, match="there is no tool 'mesure'; did you mean") as caught:
            await session.call_tool("mesure", {})
        assert caught.value.code == INVALID_PARAMS
        assert not (await session.call_tool("measure", {})).is_error


async def test_an_operation_that_is_no_tool_cannot_be_called(connect: Connect) -> None:
    async with connect() as session:
        with pytest.raises(MCPError, match="there is no tool"):
            await session.call_tool("probe_touch", {})


async def test_a_result_may_be_too_large(connect: Connect) -> None:
    """An agent reads all of it, so it is told to ask for less."""
    async with connect("[mcp]\nmax_result = 2000\n") as session:
        result = await session.call_tool("probe_repeat", {"text": "x", "times": 3000})
        assert result.is_error
        assert "at most 2000\nhint: ask for less" in text_of(result)
        assert not (await session.call_tool("probe_repeat", {"text": "x"})).is_error


async def test_agents_may_be_let_read_only(connect: Connect) -> None:
    async with connect("[mcp]\nread_only = true\n") as session:
        tools = (await session.list_tools()).tools
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        with pytest.raises(MCPError, match="there is no tool"):
            await session.call_tool("probe_change", {})


# ------------------------------------------------------------------- progress and cancellation


async def test_progress_never_goes_back(connect: Connect) -> None:
    """Of several phases each begins where the one before ended; the last is always told."""
    told: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with connect() as session:
        await session.call_tool("probe_work", {}, progress_callback=hear)
    reached = [progress for progress, _, _ in told]
    assert reached == sorted(set(reached))
    assert told[-1][2] == "writing: 3 of 3 items"
    assert told[-1][0] == told[-1][1]


async def test_a_cancelled_call_may_clean_up(connect: Connect, tmp_path: Path) -> None:
    """Once, and it is waited for; the session goes on."""
    file = tmp_path / "told"
    async with connect() as session:
        call = asyncio.create_task(session.call_tool("probe_work", {"file": str(file)}))
        await written(file, "begun\n")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await written(file, "begun\nended\n")
        assert not (await session.call_tool("measure", {})).is_error


async def test_two_agents_at_once(connect: Connect) -> None:
    """Each has answers of its own."""
    async with connect() as one, connect() as other:
        results = await asyncio.gather(
            *(s.call_tool("measure", {"text": "x" * n}) for n in range(10) for s in (one, other))
        )
    lengths = [result.structured_content for result in results]
    assert lengths == [{"length": n} for n in range(10) for _ in range(2)]


async def written(file: Path, text: str) -> None:
    """Wait until *file* holds *text*."""
    async with asyncio.timeout(30):
        while not (file.exists() and file.read_text() == text):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------------- resources and prompts


async def test_prompts_are_filled_in(connect: Connect) -> None:
    async with connect() as session:
        prompts = [prompt.name for prompt in (await session.list_prompts()).prompts]
        found = await session.get_prompt("who_is", {"name": "Ada {Example}"})
    assert prompts == ["who_is", "prepare_meeting", "what_changed"]
    assert 'Who is "Ada {Example}"?' in found.messages[0].content.text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("who_is", {}, "'name' is missing"),
        ("who_is", {"name": "Ada", "age": "5"}, "'age' is not known"),
        ("who_is", {"name": "A" * 1001}, "too long"),
        ("who_was", {}, "no prompt 'who_was'"),
    ],
)
async def test_a_wrong_prompt_is_refused(
    connect: Connect, name: str, arguments: dict[str, str], why: str
) -> None:
    async with connect() as session:
        with pytest.raises(MCPError, match=why) as caught:
            await session.get_prompt(name, arguments)
    assert caught.value.code == INVALID_PARAMS


@pytest.mark.parametrize("uri", ["spark://nothing/1", "file:///etc/passwd", "spark://record/1"])
async def test_a_wrong_resource_is_refused(connect: Connect, uri: str) -> None:
    async with connect() as session:
        with pytest.raises(MCPError, match="there is no resource"):
            await session.read_resource(uri)


async def test_the_newest_protocol_is_spoken(home: Home, server: Server) -> None:
    """Which has no sessions; the tests above speak the one before it."""
    for transport in (stdio_client(home.parameters()), server.url):
        async with Client(transport) as client:
            assert client.session.protocol_version == "2026-07-28"
            result = await client.call_tool("measure", {"text": "abc"})
            assert result.structured_content == {"length": 3}
            assert (await client.call_tool("measure", {"txt": ""})).is_error
            with pytest.raises(MCPError, match="there is no tool"):
                await client.call_tool("mesure", {})
