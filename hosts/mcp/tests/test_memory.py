"""The firm's memory as agents use it: a real CRM, a real index, the SDK's own client."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

import pytest
from mcp import ClientSession, MCPError
from mcp_types import TextResourceContents

from .conftest import Connect, Home, over_http, over_stdio, serving, text_of

pytestmark = pytest.mark.anyio

SETTINGS = """
[plugins.ingest]
database = "crm.db"
[plugins.ingest.kinds.contact]
table = "people"
id = "person_id"
title = "full_name"
text = ["full_name", "job_title", "notes"]
metadata = ["city"]
match = { name = "full_name", email = "email" }
"""

PEOPLE = """
create table people (person_id integer primary key, full_name, job_title, city, email, notes);
insert into people values
    (1, 'Ada Example', 'engineer', 'Brno', 'ada@example.com', 'Replaced a bearing of the pump.'),
    (2, 'Ben Sample', 'buyer', 'Graz', 'ben@example.com', 'Pays late. Prefers calls.');
"""

#: Notes every connection that leaves this machine's own files, and refuses it.
GUARD = """
import os, socket, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto") and arguments[0].family != socket.AF_UNIX:
        with open(os.environ["OUTWARD"], "a") as file:
            file.write(f"{event} {arguments[1]}\\n")
        raise OSError("no way out")
sys.addaudithook(refuse)
"""


class Firm(Home):
    """A folder with a CRM that is indexed, and whose records are resolved."""

    @property
    def crm(self) -> Path:
        return self.path / "crm.db"

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"OUTWARD": str(self.path / "outward")}

    def answer(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Firm:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(GUARD)
    firm = Firm(tmp_path, site)
    firm.write(SETTINGS)
    with closing(sqlite3.connect(firm.crm)) as connection, connection:
        connection.executescript(PEOPLE)
    firm.answer("ingest", "resolve")
    firm.answer("ingest", "backfill")
    return firm


@pytest.fixture
def connect(request: pytest.FixtureRequest, home: Firm, err: Any) -> Connect:
    """As in conftest, over a transport that the test names, with the settings that there are."""
    return lambda: over_stdio(home, err)


async def told(session: ClientSession, tool: str, **arguments: Any) -> Any:
    """What *tool* answers; it must not fail."""
    result = await session.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    return result.structured_content


async def found(session: ClientSession, query: str, mode: str = "hybrid") -> list[str]:
    hits = (await told(session, "search", query=query, mode=mode, limit=3))["hits"]
    return [f"{hit['kind']} {hit['title']}" for hit in hits]


WANTED = {
    *("search", "get_record", "get_entity", "list_entities", "related", "index_status"),
    *("add_note", "confirm_link", "refuse_link", "tag_entity", "audit_list", "audit_undo"),
}


async def use(session: ClientSession) -> None:
    """List the tools, search in three modes, add a note, find it, undo it."""
    tools = (await session.list_tools()).tools
    assert {tool.name for tool in tools} >= WANTED
    for mode in ("dense", "sparse", "hybrid"):
        assert (await found(session, "pump bearing", mode))[0] == "contact Ada Example"
    hit = (await told(session, "search", query="pump bearing", limit=1))["hits"][0]
    entity = await told(session, "get_entity", entity=hit["entity"])
    await told(session, "add_note", entity=hit["entity"], text="She collects marzipan.")
    for mode in ("dense", "sparse", "hybrid"):
        assert (await found(session, "marzipan", mode))[0] == "note Ada Example"
    notes = (await told(session, "get_entity", entity=hit["entity"]))["notes"]
    assert [note["text"] for note in notes] == ["She collects marzipan."]
    entry = (await told(session, "audit_list", limit=1))["entries"][0]
    assert (entry["action"], entry["detail"]["tool"]) == ("notes.add", "add_note")
    assert entry["actor"].startswith("mcp ")
    assert entry["detail"]["before"] is None
    assert entry["detail"]["after"]["notes"][0]["text"] == "She collects marzipan."
    undone = await told(session, "audit_undo", id=entry["id"])
    assert undone["after"] is None
    assert await found(session, "marzipan", "sparse") == []
    again = await session.call_tool("audit_undo", {"id": entry["id"]})
    assert again.is_error
    assert "undone before" in text_of(again)
    assert await told(session, "get_entity", entity=hit["entity"]) == entity


async def test_item_11_mcp_reads_in_three_modes_and_logs_each_write(
    home: Firm, connect: Connect
) -> None:
    """Over standard input and output, or HTTP; the CRM stays as it was."""
    before = hashlib.sha256(home.crm.read_bytes()).hexdigest()
    async with connect() as session:
        await use(session)
    assert hashlib.sha256(home.crm.read_bytes()).hexdigest() == before
    entries = home.answer("audit", "list")["entries"]
    assert [e["action"] for e in entries if e["outcome"] == "ok"][:2] == ["audit.undo", "notes.add"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("confirm_link", {"a": "contact:1", "b": "contact:2"}),
        ("refuse_link", {"a": "contact:1", "b": "contact:2"}),
        ("tag_entity", {"tag": "vip"}),
        ("add_note", {"text": "Collects marzipan."}),
    ],
)
async def test_each_write_is_on_the_record_and_can_be_taken_back(
    home: Firm, err: TextIO, tool: str, arguments: dict[str, str]
) -> None:
    """What is there afterwards is what was there before."""
    async with over_stdio(home, err) as session:
        entity = (await told(session, "get_entity", entity="contact:1"))["entity"]
        before = [await told(session, "get_entity", entity=f"contact:{n}") for n in (1, 2)]
        about = {} if "a" in arguments else {"entity": entity}
        await told(session, tool, **about, **arguments)
        entry = (await told(session, "audit_list", limit=1))["entries"][0]
        assert (entry["detail"]["tool"], entry["outcome"]) == (tool, "ok")
        assert entry["detail"]["before"] != entry["detail"]["after"]
        await told(session, "audit_undo", id=entry["id"])
        after = [await told(session, "get_entity", entity=f"contact:{n}") for n in (1, 2)]
        assert after == before
        again = await session.call_tool("audit_undo", {"id": 2**70})
        assert "invalid-request" in text_of(again)


async def test_the_same_over_http(home: Firm) -> None:
    """Two agents, one after the other, in sessions of their own."""
    with serving(home) as server:
        for _ in range(2):
            async with over_http(server.url) as session:
                await use(session)


async def test_no_tool_sends_anything_outward(home: Firm, connect: Connect) -> None:
    """Every tool that is listed is called, in a process that notes and refuses connections."""
    async with connect() as session:
        hit = (await told(session, "search", query="pump", limit=1))["hits"][0]
        entity = hit["entity"]
        known: dict[str, Any] = {
            "entity": entity,
            "query": "pump",
            "kind": "contact",
            "id": "1",
            "tag": "vip",
            "a": "contact:1",
            "b": "contact:2",
            "handle": "none",
            "text": "A note.",
        }
        special: dict[str, Any] = {
            "add_note": {"entity": entity, "text": "A note."},
            "audit_undo": {"id": 1},
        }
        tools = (await session.list_tools()).tools
        for tool in tools:
            needed = tool.input_schema.get("required", [])
            arguments = special.get(tool.name, {name: known[name] for name in needed})
            await session.call_tool(tool.name, arguments)
            assert tool.annotations is not None
            assert tool.annotations.open_world_hint is False
    assert {tool.name for tool in tools} >= WANTED
    outward = home.path / "outward"
    assert not outward.exists(), outward.read_text()


def test_the_guard_of_that_test_notes_connections(home: Firm) -> None:
    """Or it would pass whatever tools do."""
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", code], env=home.environment, capture_output=True)
    assert (home.path / "outward").read_text() == "socket.connect ('127.0.0.1', 9)\n"


async def test_resources_are_records_and_entities(home: Firm, connect: Connect) -> None:
    """By the URIs that the templates say."""
    async with connect() as session:
        templates = (await session.list_resource_templates()).resource_templates
        assert {t.uri_template for t in templates} == {
            "spark://record/{kind}/{id}",
            "spark://entity/{entity}",
        }
        (content,) = (await session.read_resource("spark://record/contact/1")).contents
        assert isinstance(content, TextResourceContents)
        record = json.loads(content.text)
        assert record["title"] == "Ada Example"
        (content,) = (await session.read_resource(f"spark://entity/{record['entity']}")).contents
        assert isinstance(content, TextResourceContents)
        assert "Ada Example" in content.text
        with pytest.raises(MCPError, match="there is no contact '99'"):
            await session.read_resource("spark://record/contact/99")
