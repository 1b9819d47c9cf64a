"""A real ``spark serve`` between callers and a stand-in for a model outside, which keeps all.

The names it knows come from a plugin that is installed beside it, as a CRM's would.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from ...scripted import Peer, Scripted, answer, serving
from ..gateway.conftest import COMMAND, PATIENCE, Served
from .searching import KEY, LOUD, search

#: Who is known: id, names, e-mail address, telephone, number.
PEOPLE = (
    ("1", ("Ottilie Kranzfeld", "Tilly Kranzfeld"), "ottilie@kranzfeld.example", "", "KD-7741902"),
    ("2", ("Břetislav Horňák",), "", "+420 601 555 214", ""),
    ("3", ("Marguerite Delacourt-Vey",), "m.vey@pompes.example", "", ""),
    ("4", ("李静怡",), "", "", ""),
    ("5", ("Quorrin Pumpworks Ltd",), "", "", "88120347"),
    (
        "6",
        ("Zsuzsanna Quillfeather",),
        "zq.canary@quillfeather.example",
        "+36 1 555 0199",
        "CN-90817263",
    ),
)

PLUGIN = f"""
from contextlib import asynccontextmanager
from spark_core import Provider, hookimpl
from spark_core.contracts.detection import KnownEntity

class Names:
    async def version(self):
        return "1"

    async def entities(self, *, batch=5000):
        yield [
            KnownEntity(
                id, "ORGANIZATION" if "Ltd" in names[0] else "PERSON", names,
                emails=(email,) if email else (), phones=(phone,) if phone else (),
                numbers=(number,) if number else (),
            )
            for id, names, email, phone, number in {PEOPLE!r}
        ]

@asynccontextmanager
async def opened():
    yield Names()

@hookimpl
def spark_register_known_entities():
    return (Provider("test-names", opened),)
"""

#: Answers as it wants to one request; what it says of bodies and heads is kept by the frontier.
Script = Callable[[Peer, dict[str, Any]], Awaitable[None]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class Frontier:
    """A stand-in for a model outside. It keeps every byte that it was sent."""

    def __init__(self) -> None:
        self.script: Script = says("Yes.")
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.served: Scripted

    @property
    def heard(self) -> str:
        """All that it was sent, also as it reads with its escapes undone."""
        heads = b"\n".join(self.heads).decode()
        bodies = [body.decode() for body in self.bodies]
        return "\n".join([heads, *bodies, *map(_unescaped, bodies)])

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies as JSON."""
        return [json.loads(body) for body in self.bodies]

    async def serve(self, peer: Peer) -> None:
        """Answer what comes on one connection."""
        while True:
            head, body = await peer.request()
            self.heads.append(head)
            self.bodies.append(body)
            await self.script(peer, json.loads(body))


def _unescaped(text: str) -> str:
    for _ in range(4):
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
        text = text.replace('\\"', '"').replace("\\\\", "\\")
    return text


def message(content: str | None, **more: Any) -> dict[str, Any]:
    """A chat completion that says *content*."""
    said = {"role": "assistant", "content": content, **more}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "far",
        "choices": [choice],
        "usage": usage,
    }


def chunks(deltas: Iterable[dict[str, Any]], finish: str = "stop") -> bytes:
    """A streamed chat completion of *deltas*."""
    told = [
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "far",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        for delta, reason in [*((delta, None) for delta in deltas), ({}, finish)]
    ]
    events = [json.dumps(each, ensure_ascii=False) for each in told] + ["[DONE]"]
    return "".join(f"data: {event}\n\n" for event in events).encode()


def in_json(value: Any, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    """An answer of JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return answer(body, status, b"content-type: application/json", *headers)


EVENT_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def streamed(*pieces: bytes) -> list[bytes]:
    """The bytes of an answer of events, one chunk for each piece."""
    return [
        EVENT_STREAM,
        *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces),
        b"0\r\n\r\n",
    ]


def says(text: str | Callable[[dict[str, Any]], str]) -> Script:
    """Says *text*, plain or letter by letter, in either API."""

    async def script(peer: Peer, body: dict[str, Any]) -> None:
        said = text if isinstance(text, str) else text(body)
        if body.get("stream"):
            deltas = [{"role": "assistant", "content": ""}, *({"content": c} for c in said)]
            await peer.send(*streamed(*(e + b"\n\n" for e in chunks(deltas).split(b"\n\n")[:-1])))
        else:
            await peer.send(in_json(message(said)))

    return script


def last_text(body: dict[str, Any]) -> str:
    """What was said last in a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.fixture(scope="session")
async def outside() -> AsyncIterator[Frontier]:
    """The stand-in of :func:`frontier`, with whatever script."""
    frontier = Frontier()
    async with serving(frontier.serve) as frontier.served:
        yield frontier


@pytest.fixture
def frontier(outside: Frontier) -> Iterator[Frontier]:
    """A model outside that has heard nothing yet."""
    outside.heads.clear()
    outside.bodies.clear()
    outside.script = says("Yes.")
    yield outside
    assert outside.served.errors == []


@dataclass
class Exit(Served):
    """A server with the exit, and the folder that it works in."""

    folder: Path = Path()


Serve = Callable[..., Exit]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts servers with the settings *toml* and a plugin that knows names."""
    servers: list[Exit] = []

    def start(toml: str, *, workers: int = 1, plugin: str = PLUGIN, change: str = "") -> Exit:
        folder = tmp_path_factory.mktemp("exit")
        install(folder, plugin)
        (folder / "spark.toml").write_text(toml)
        log = folder / "log"
        program = COMMAND.format(change=change)
        with log.open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", program, "--port", "0", "--workers", str(workers)],
                cwd=folder,
                env={k: v for k, v in os.environ.items() if k in ("PATH", "HOME")},
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, log.read_text()
        servers.append(Exit(found[0], process, log, folder))
        httpx.get(f"{found[0]}/health", timeout=PATIENCE)
        return servers[-1]

    yield start
    for server in servers:
        server.process.send_signal(signal.SIGQUIT)
    for server in servers:
        server.process.communicate(timeout=PATIENCE)


def install(folder: Path, plugin: str) -> None:
    """Make *plugin* a distribution that is found from *folder*."""
    (folder / "test_names.py").write_text(plugin)
    info = folder / "test_names-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: test-names\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[spark_core]\ntest-names = test_names\n")


def settings(url: str, more: str = "") -> str:
    """The settings of the exit to the model at *url*."""
    return (
        f'{more}\n[plugins.redaction.frontier]\nurl = "{url}/v1"\nmodels = ["far"]\n'
        f'api_key = "{KEY}"\nsilent_s = 20\n'
    )


@pytest.fixture(scope="session")
async def server(outside: Frontier, serve: Serve) -> AsyncIterator[Exit]:
    """Two workers in front of the model outside, which log whatever they can.

    When all tests are done, nothing private is in anything that was written for any of them.
    """
    started = serve(settings(outside.served.url), workers=2, change=LOUD)
    yield started
    assert search(started) == {}
    assert len(started.log.read_bytes()) > 10_000


@pytest.fixture
async def http(server: Exit) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture
async def client(server: Exit) -> AsyncIterator[AsyncOpenAI]:
    """The official client, which does not try twice."""
    url = f"{server.url}/v1/frontier"
    async with AsyncOpenAI(
        base_url=url, api_key="callers-own-key", max_retries=0, timeout=PATIENCE
    ) as client:
        yield client


def events(text: str) -> list[dict[str, Any]]:
    """The JSON of server-sent events."""
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]
