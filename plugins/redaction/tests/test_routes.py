"""``/scrub`` and ``/rehydrate``, as programs, agents and people at a shell see them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from spark_core_cli.main import make_command
from spark_core_mcp.settings import McpSettings
from spark_core_mcp.tools import Tools
from spark_core_redaction.scrubbing import Redaction

from spark_core import Spark
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

TEXT = "Ada Example (C-4711) of Sample & Sons: ada@mail.example, +44 20 7946 0123.\r\nAda"
PRIVATE = ("Ada", "Example", "4711", "Sample", "mail", "7946")

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief with Ada Example."},
    {
        "role": "user",
        "name": "Ada",
        "content": [{"type": "text", "text": "I am Ada\u0000 Example"}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "look_up", "arguments": '{"who":"Ada Ex\\u0061mple", "n": 1}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '{"C-4711": ["Ben Sample"]}'},
    {"role": "user", "content": "x", "Ben Sample": {"note": "[PERSON_1] [PERSON_1"}},
]


async def test_item_19_a_text_is_scrubbed_and_comes_back_to_the_byte(client: Any) -> None:
    answer = await client.post("/scrub", json={"text": TEXT})
    assert answer.status_code == 200
    assert answer.json.keys() == {"text", "handle", "counts"}
    assert [value for value in PRIVATE if value in answer.json["text"]] == []
    assert answer.json["counts"]["PERSON"] == 2
    back = {"text": answer.json["text"], "handle": answer.json["handle"]}
    answer = await client.post("/rehydrate", json=back)
    assert answer.json == {"text": TEXT, "unknown": []}


async def test_messages_keep_their_shape_and_come_back_to_the_byte(client: Any) -> None:
    """Also names, keys, the arguments of calls and what tools answered."""
    answer = await client.post("/scrub", json={"messages": MESSAGES})
    assert answer.json.keys() == {"messages", "handle", "counts"}
    scrubbed = json.dumps(answer.json["messages"])
    assert [value for value in (*PRIVATE, "Ben") if value in scrubbed] == []
    first, second, third, fourth, _ = answer.json["messages"]
    assert first == {"role": "system", "content": "Be brief with [PERSON_1]."}
    assert second["name"] == "[PERSON_1_GIVEN]"
    call = third["tool_calls"][0]
    assert (call["type"], call["function"]["name"]) == ("function", "look_up")
    assert json.loads(call["function"]["arguments"])["who"].startswith("[PERSON_1")
    assert json.loads(fourth["content"])
    back = {"messages": answer.json["messages"], "handle": answer.json["handle"]}
    answer = await client.post("/rehydrate", json=back)
    assert answer.json == {"messages": MESSAGES, "unknown": []}


async def test_a_number_that_is_somebody_s_is_a_text_like_any_other(client: Any) -> None:
    """Also where JSON has a number; the others stay what they are."""
    body = {
        "messages": [{"role": "tool", "content": {"card": 4111111111111111, "n": 12, "x": 20.5}}]
    }
    answer = (await client.post("/scrub", json=body)).json
    content = answer["messages"][0]["content"]
    assert content == {"card": "[CARD_1]", "n": 12, "x": 20.5}
    back = {"messages": answer["messages"], "handle": answer["handle"]}
    restored = (await client.post("/rehydrate", json=back)).json["messages"]
    assert restored[0]["content"] == {"card": "4111111111111111", "n": 12, "x": 20.5}


async def test_item_19_an_unknown_placeholder_is_left_and_told(client: Any) -> None:
    handle = (await client.post("/scrub", json={"text": "Ada Example"})).json["handle"]
    back = {"text": "[PERSON_1] and [PERSON_2]", "handle": handle}
    answer = await client.post("/rehydrate", json=back)
    assert answer.json == {"text": "Ada Example and [PERSON_2]", "unknown": ["[PERSON_2]"]}


async def test_a_scope_goes_on_from_call_to_call(client: Any) -> None:
    first = await client.post("/scrub", json={"text": "Ben Sample, Ada Example"})
    scope = {"scope": first.json["handle"]}
    second = await client.post("/scrub", json={"text": "Ada Example", **scope})
    assert second.json["text"] == "[PERSON_2]"
    assert second.json["handle"] == first.json["handle"]


async def test_unknown_expired_and_foreign_handles_are_told_the_same(
    client: Any, spark_clock: ManualClock
) -> None:
    """With both routes, and 404."""
    handle = (await client.post("/scrub", json={"text": "Ada Example"})).json["handle"]
    foreign = handle[:-4] + ("AAAA" if handle[-4:] != "AAAA" else "BBBB")
    answers = []
    for each in ("scope_" + "x" * 43, foreign, handle):
        if each is handle:
            spark_clock.advance(86400)
        answers.append(await client.post("/rehydrate", json={"text": "", "handle": each}))
        answers.append(await client.post("/scrub", json={"text": "", "scope": each}))
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    odd = await client.post("/rehydrate", json={"text": "", "handle": "nothing"})
    assert odd.text == answers[0].text


@pytest.mark.parametrize(
    "request_",
    [{}, {"text": "a", "messages": []}, {"text": "a", "scope": ""}, {"text": 1}, {"messages": [1]}],
)
async def test_what_cannot_be_is_refused(client: Any, request_: dict[str, Any]) -> None:
    assert (await client.post("/scrub", json=request_)).status_code == 422


async def test_what_is_nested_too_deeply_is_refused(client: Any) -> None:
    deep: Any = "Ada Example"
    for _ in range(100):
        deep = [deep]
    answer = await client.post("/scrub", json={"messages": [{"role": "user", "content": deep}]})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ],
)
async def test_item_23_what_cannot_be_read_is_refused_by_kind(
    client: Any, part: dict[str, Any]
) -> None:
    """Pictures and sounds may show anybody."""
    messages = [{"role": "user", "content": [part]}]
    answer = await client.post("/scrub", json={"messages": messages})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"].startswith("/messages/0/content/0")


@pytest.mark.parametrize("more", [{}, {"annotations": [{"title": "x"}]}])
async def test_what_is_cut_in_parts_does_not_leave(client: Any, more: dict[str, Any]) -> None:
    """Each part looks harmless, and the model reads them as one."""
    texts = ("for Ada Exam", "ple, and", " others")
    parts = [{"type": "text", "text": text, **more} for text in texts]
    messages = [{"role": "user", "content": parts}]
    answer = await client.post("/scrub", json={"messages": messages})
    assert answer.status_code == 422
    place = {"pointer": "/messages/0/content", "detail": "PERSON goes on in the next part"}
    assert answer.json["errors"] == [place]
    messages = [{"role": "user", "content": [parts[1], parts[2]]}]
    assert (await client.post("/scrub", json={"messages": messages})).status_code == 200


async def test_the_verdict_tells_kinds_and_places_and_never_values(
    client: Any, spark: Spark, looking: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    redaction = await spark.resolver.get(Redaction)
    redaction._looking = looking.Known(missed=["Graz"])
    messages = [{"role": "user", "content": "in Graz"}]
    answer = await client.post("/scrub", json={"messages": messages})
    assert answer.status_code == 422
    assert answer.json["type"] == "urn:spark-core:withheld"
    place = {"pointer": "/messages/0/content", "detail": "MISSED at characters 3 to 7"}
    assert answer.json["errors"] == [place]
    redaction._looking = looking.Known(failing=RuntimeError("in Graz"))
    answer = await client.post("/scrub", json={"text": "in Graz"})
    assert answer.status_code == 422
    assert "Graz" not in answer.text + caplog.text


# ----------------------------------------------------------------------------------------- MCP


async def test_agents_have_both_as_tools(spark: Spark) -> None:
    tools = Tools(spark, McpSettings())
    scrubbed = await tools.call("scrub", {"text": "for Ada Example"}, "test", None)
    said = scrubbed.structured_content
    assert said is not None
    assert said["text"] == "for [PERSON_1]"
    back = {"text": "[PERSON_1]!", "handle": said["handle"]}
    restored = await tools.call("rehydrate", back, "test", None)
    assert restored.structured_content == {"text": "Ada Example!", "unknown": []}
    lost = await tools.call("rehydrate", {**back, "handle": "x"}, "test", None)
    assert lost.is_error


# --------------------------------------------------------------------------------------- shell


Run = Callable[..., Result]


@pytest.fixture
def run(spark_home: Path) -> Run:
    """Runs ``spark`` in an empty folder, in this process."""
    return lambda *words, input=b"": CliRunner().invoke(make_command(), words, input=input)


def test_standard_input_is_scrubbed_and_restored_to_the_byte(run: Run) -> None:
    letter = b"Dear Ms. Ada Example,\r\ncall +44 20 7946 0123\n[PHONE_1]\r\x00\xc3\xa9"
    done = run("scrub", input=letter)
    assert done.exit_code == 0, done.stderr
    assert b"7946" not in done.stdout_bytes
    handle = done.stderr.split("handle: ")[1].strip()
    back = run("rehydrate", "--handle", handle, input=done.stdout_bytes)
    assert (back.exit_code, back.stdout_bytes) == (0, letter)
    told = run("rehydrate", "--handle", handle, "--json", input=b"[PHONE_9]")
    assert json.loads(told.stdout) == {"text": "[PHONE_9]", "unknown": ["[PHONE_9]"]}


def test_no_command_takes_a_text_as_an_argument(run: Run) -> None:
    """Everybody on the machine would see it in the list of processes."""
    assert run("redaction", "scrub", "--text", "Ada Example").exit_code == 2


def test_files_share_a_scope_and_go_to_a_folder(run: Run, spark_home: Path) -> None:
    (spark_home / "a.txt").write_text("ada@mail.example")
    (spark_home / "b.txt").write_text("to ada@mail.example and ben@mail.example")
    done = run("scrub", "a.txt", "b.txt", "--output", "out", "--json")
    assert done.exit_code == 0, done.stderr
    assert (spark_home / "out" / "b.txt").read_text() == "to [EMAIL_1] and [EMAIL_2]"
    handle = json.loads(done.stdout_bytes)["files"][1]["handle"]
    run("rehydrate", "out/a.txt", "out/b.txt", "--output", "back", "--handle", handle)
    for name in ("a.txt", "b.txt"):
        assert (spark_home / "back" / name).read_bytes() == (spark_home / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "input", "told"),
    [
        (("scrub", "a", "b"), b"", "several files need --output or --json"),
        (("scrub", "--output", "out"), b"x", "--output needs files"),
        (("scrub", "-", "--output", "out"), b"x", "--output needs files"),
        (("scrub", "a/x", "b/x", "--output", "out"), b"", "files of one name"),
        (("scrub", "nowhere"), b"", "nowhere cannot be read: No such file"),
        (("scrub",), b"\xff", "is not UTF-8"),
        (("scrub", "--messages"), b"{", "is not JSON"),
        (("rehydrate", "--handle", "x"), b"", "there is no such scope"),
    ],
)
def test_what_is_wrong_is_said(run: Run, words: tuple[str, ...], input: bytes, told: str) -> None:
    done = run(*words, input=input)
    assert done.exit_code != 0
    assert told in done.stderr
    assert done.stdout == ""
