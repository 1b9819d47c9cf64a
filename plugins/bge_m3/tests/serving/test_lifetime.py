"""From the first request to the last: loading, callers who leave, and the end."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from spark_core_bge_m3 import serving as package

pytestmark = pytest.mark.anyio

#: Runs the server around a model that works until it reads a line.
PROGRAM = """
import logging, sys, threading
from spark_core_bge_m3.serving.app import Names
from spark_core_bge_m3.serving.batching import Models
from spark_core_bge_m3.serving.command import serve

class Slow:
    def tokens(self, inputs):
        return [{"input_ids": [0]} for text in inputs]
    def run(self, batch):
        print("running", flush=True)
        sys.stdin.readline()
        return [[1.0] for tokens in batch]

def loads():
    return Models(Slow(), Slow(), 1)

def hangs():
    print("loading", flush=True)
    threading.Event().wait()

def fails():
    raise OSError("there is no such model")

logging.basicConfig(level=logging.INFO)
serve(globals()[sys.argv[1]], Names("a", "b"), "127.0.0.1", 0, 64)
"""


@contextmanager
def program(how: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server as a process that loads its models so, and its address."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PROGRAM, how]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process, "http://" + until(process, r"listening at (\S+)")[1]
        finally:
            process.kill()


def until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read the log until there is a line with *pattern*."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"the log ended without {pattern}")


def test_it_drains_when_told_to_stop() -> None:
    """What came in before SIGTERM is answered; then the process ends well."""
    with program("loads") as (process, url):
        asyncio.run(_drained(process, url))
        assert process.wait() == 0


async def _drained(process: subprocess.Popen[str], url: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:
        while (await client.get("/health")).status_code != 200:
            pass
        asked = asyncio.create_task(client.post("/v1/embeddings", json={"input": ["x"]}))
        assert await asyncio.to_thread(process.stdout.readline) == "running\n"
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(until, process, "Shutting down")
        assert not asked.done()
        process.stdin.write("\n")
        process.stdin.flush()
        answer = await asked
    assert answer.json()["data"][0]["embedding"] == [1.0]


def test_it_can_be_stopped_while_it_loads() -> None:
    """Nobody waits for a model that nobody will ask; until then health says what is going on."""
    with program("hangs") as (process, url):
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        health = httpx.get(f"{url}/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_it_ends_where_models_cannot_be_loaded() -> None:
    """A server that will never work must not look like one that is starting."""
    with program("fails") as (process, _):
        until(process, "there is no such model")
        assert process.wait() == 1


async def test_a_caller_who_hangs_up_is_forgotten(
    serving: Any, models: Any, load: Callable[[], Any]
) -> None:
    """The connection's end cancels what waits for it, also when the body was read long ago."""
    body = json.dumps({"input": ["leaving"] * 30}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(load) as url, httpx.AsyncClient(base_url=url) as client:
        models.embedder.gate.clear()
        stays = asyncio.create_task(client.post("/v1/embeddings", json={"input": "stays"}))
        await models.embedder.begun()
        _, leaver = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        leaver.write(head + body)
        await _until_waiting(client, 31)
        leaver.close()
        await leaver.wait_closed()
        await _until_waiting(client, 1)
        models.embedder.gate.set()
        assert (await stays).status_code == 200
    assert [len(batch) for batch in models.embedder.batches] == [1]


async def _until_waiting(client: httpx.AsyncClient, count: int) -> None:
    while (await client.get("/health")).json()["waiting"] != count:
        pass


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is there without what it needs, and names it."""
    monkeypatch.setattr(package, "find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(SystemExit, match=r"needs torch: .*spark-core-bge-m3\[server\]"):
        package.main()


def test_the_port_may_be_taken() -> None:
    """The error names the address."""
    import socket

    import click
    from spark_core_bge_m3.serving.command import _listening

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(click.ClickException, match=r"127\.0\.0\.1:\d+: Address already in use"),
    ):
        _listening(*taken.getsockname())
