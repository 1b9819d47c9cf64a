"""``spark mcp`` as a process: its standard output is the protocol's alone, and it ends well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from .conftest import Home

HELLO = {
    "jsonrpc": "2.0",
    "id": "hello",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call(id: Any, name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def lines(*messages: Any) -> bytes:
    parts = (m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages)
    return b"".join(part + b"\n" for part in parts)


def answers(home: Home, *messages: Any) -> tuple[list[Any], str]:
    """All that the server says to *messages*, and what it wrote to standard error."""
    done = home.run("mcp", input=lines(HELLO, READY, *messages))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def by_id(said: list[Any]) -> dict[Any, Any]:
    return {answer["id"]: answer for answer in said}


def test_standard_output_is_the_protocols_alone(home: Home) -> None:
    """Whoever prints, in Python, in C, by a child or by logging, is heard on standard error."""
    said, err = answers(home, call(1, "measure", text="abc"))
    assert by_id(said)[1]["result"]["structuredContent"] == {"length": 3}
    assert all(answer["jsonrpc"] == "2.0" for answer in said)
    for words in ("imported", "printed", "redirection", "by C", "by a child", "logged"):
        assert words in err


def test_calls_are_answered_though_the_input_ended(home: Home) -> None:
    """So that a file of messages can be piped in."""
    said, _ = answers(home, *(call(n, "measure", text="x" * n) for n in range(50)))
    assert {n: by_id(said)[n]["result"]["structuredContent"]["length"] for n in range(50)} == {
        n: n for n in range(50)
    }


def test_messages_may_come_from_a_file(home: Home) -> None:
    """Which cannot be waited for as a pipe can."""
    file = home.path / "messages"
    file.write_bytes(lines(HELLO, READY, call(1, "measure")))
    with (
        file.open("rb") as source,
        home.start(
            "mcp", stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process,
    ):
        out, _ = process.communicate(timeout=60)
    assert len(out.splitlines()) == 2


def test_what_is_malformed_is_answered(home: Home) -> None:
    """With an error, by its id where it has one; the server lives on."""
    wrong: dict[Any, tuple[bytes, int]] = {
        7: (b'{"jsonrpc": "2.0", "id": 7}', -32600),
        8: (b'{"jsonrpc": "2.0", "id": 8, "method": "no/such"}', -32601),
        9: (b'{"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {}}', -32602),
        10: (b'{"jsonrpc": "2.0", "id": 10, "method": "tools/call", "params": []}', -32600),
        11: (b'{"jsonrpc": "1.0", "id": 11, "method": "tools/list"}', -32600),
    }
    said, _ = answers(home, *(line for line, _ in wrong.values()), call(1, "measure", text="abc"))
    assert {id: by_id(said)[id]["error"]["code"] for id in wrong} == {
        id: code for id, (_, code) in wrong.items()
    }
    assert by_id(said)[1]["result"]["structuredContent"] == {"length": 3}


def test_what_has_no_id_is_answered_too(home: Home) -> None:
    """JSON-RPC says: with none."""
    unreadable = (b"no json", b"\xff\xfe", b"[" * 100_000)
    no_message = (b"[]", b"5", b'{"jsonrpc": "2.0", "id": true}', b'{"method": 5}')
    said, _ = answers(home, *unreadable, *no_message, call(1, "measure"))
    codes = [answer["error"]["code"] for answer in said if answer["id"] is None]
    assert codes == [-32700] * 3 + [-32600] * 4
    assert "result" in by_id(said)[1]


def test_a_message_may_be_too_large(home: Home) -> None:
    """It is not kept, and the next one is answered."""
    home.write("[mcp]\nmax_message = 5000\n")
    said, _ = answers(home, call(2, "measure", text="x" * 200_000), call(1, "measure"))
    assert by_id(said)[None]["error"]["message"] == "a message may have at most 5000 bytes"
    assert "result" in by_id(said)[1]


def test_empty_lines_and_windows_line_ends_are_fine(home: Home) -> None:
    said, _ = answers(home, b"", b"  \r", json.dumps(call(1, "measure")).encode() + b"\r")
    assert set(by_id(said)) == {"hello", 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(home: Home, number: int) -> None:
    """While its agent is still there; a call that runs is cancelled, and cleans up."""
    told = home.path / "told"
    with home.start(
        "mcp", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines(HELLO, READY, call(1, "probe_work", file=str(told))))
        process.stdin.flush()
        assert b'"hello"' in process.stdout.readline()
        while not told.exists():
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert told.read_text() == "begun\nended\n"


def test_an_agent_that_reads_nothing_does_not_keep_it(home: Home) -> None:
    """With a full pipe before it, a signal ends it all the same."""
    home.write("[mcp]\nmax_result = '4 MiB'\n")
    read, write = os.pipe()
    with home.start(
        "mcp", stdin=subprocess.PIPE, stdout=write, stderr=subprocess.DEVNULL
    ) as process:
        os.close(write)
        assert process.stdin is not None
        process.stdin.write(lines(HELLO, READY, call(1, "probe_repeat", text="x", times=2**20)))
        process.stdin.flush()
        os.read(read, 100)  # it has begun to answer
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    os.close(read)


def test_an_agent_that_is_gone_ends_it(home: Home) -> None:
    """Its end of both pipes is closed."""
    with home.start(
        "mcp", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(lines(HELLO, READY, call(1, "measure")))
        process.stdin.close()
        assert process.wait(60) == 0


def test_wrong_settings_are_told_on_standard_error(home: Home) -> None:
    home.write("[mcp]\nmax_runing = 5\n")
    done = home.run("mcp", input=b"")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"max_running" in done.stderr


def test_an_address_goes_with_http(home: Home) -> None:
    done = home.run("mcp", "--port", "5")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--host and --port go with --http" in done.stderr
