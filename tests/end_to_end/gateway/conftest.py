"""A real ``spark serve`` in front of stand-ins for the model servers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import spark_core_lab
from openai import AsyncOpenAI
from spark_core_lab.running import Lab
from spark_core_lab.server import Counters

from ...scripted import Gone, Peer, Scripted, answer, serving

#: Seconds for anything that is waited for: only a failure takes as long.
PATIENCE = 30.0

#: Starts ``spark serve``, after a change to its modules that a test asks for.
COMMAND = "{change}\nfrom spark_core_http.serve import command; command()"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Served:
    """A server that runs."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def connect(self) -> socket.socket:
        """A blocking connection."""
        return socket.create_connection(self.address, timeout=PATIENCE)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection(*self.address)

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    async def metrics(self) -> dict[str, float]:
        """What ``/metrics`` tells."""
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            text = (await client.get(f"{self.url}/metrics")).text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    async def in_flight(self) -> int:
        """How many requests hold a place, in all pools of backends."""
        found = await self.metrics()
        return int(sum(v for k, v in found.items() if k.startswith("spark_in_flight{")))

    async def waiting(self) -> int:
        """How many requests wait for a place."""
        found = await self.metrics()
        return int(sum(v for k, v in found.items() if k.startswith("spark_waiting{")))

    async def until_free(self) -> None:
        """Wait until no request holds or waits for a place."""
        await eventually(self.in_flight, lambda count: count == 0)
        await eventually(self.waiting, lambda count: count == 0)


async def eventually(ask: Callable[[], Awaitable[int]], holds: Callable[[int], bool]) -> None:
    """Ask another process until it *holds*: it tells nobody when that changes."""
    async with asyncio.timeout(PATIENCE):
        while not holds(await ask()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts servers with the settings *toml*; they are stopped at the end."""
    servers: list[Served] = []

    def start(toml: str, *, workers: int = 2, change: str = "") -> Served:
        folder = tmp_path_factory.mktemp("served")
        (folder / "spark.toml").write_text(toml)
        log = folder / "log"
        program = COMMAND.format(change=change)
        arguments = ("--port", "0", "--workers", str(workers))
        with log.open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                cwd=folder,
                env={k: v for k, v in os.environ.items() if k in ("PATH", "HOME")},
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, log.read_text()
        servers.append(Served(found[0], process, log))
        httpx.get(f"{found[0]}/health", timeout=PATIENCE)  # what comes now is not kept waiting
        return servers[-1]

    yield start
    for server in servers:
        server.process.send_signal(signal.SIGQUIT)
    for server in servers:
        server.process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="session")
async def stand_ins() -> AsyncIterator[Lab]:
    """All of them, each on a free port."""
    async with spark_core_lab.start(metrics_lag=0) as lab:
        yield lab


@pytest.fixture
async def lab(stand_ins: Lab) -> AsyncIterator[Lab]:
    """The stand-ins with nothing wrong, nothing slow and nothing counted."""
    defaults = {name: each.knobs.model_dump() for name, each in stand_ins.all.items()}
    for each in stand_ins.all.values():
        each.counters = Counters()
        each.recent.clear()
    yield stand_ins
    for name, each in stand_ins.all.items():
        each.faults.clear()
        each.knobs.turn(defaults[name])


def urls(lab: Lab) -> str:
    """The settings that say where the stand-ins are."""
    return "\n".join(f'[plugins.{name}]\nurl = "{each.url}"' for name, each in lab.all.items())


@pytest.fixture(scope="module")
async def server(stand_ins: Lab, serve: Serve) -> Served:
    """Two workers in front of all stand-ins; a backend is let go of if it is silent for long."""
    toml = urls(stand_ins).replace("[plugins.vllm]", "[plugins.vllm]\nlimit = 3")
    return serve(toml)


@pytest.fixture
async def http(server: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client of the server."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture
async def client(server: Served) -> AsyncIterator[AsyncOpenAI]:
    """The official client, which does not try twice."""
    url = f"{server.url}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=PATIENCE) as client:
        yield client


class Backend:
    """A server that does to requests what ``script`` says, and is well when a probe asks."""

    def __init__(self) -> None:
        self.script: Callable[[Peer, bytes], Awaitable[None]] = self.echo
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.served: Scripted

    async def serve(self, peer: Peer) -> None:
        """Hand a connection to the script, with the head of its first request."""
        while (head := await peer.head()).startswith(b"GET /health "):
            await peer.send(answer())
        self.heads.append(head)
        try:
            await self.script(peer, head)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, Gone | ConnectionError):
                raise

    async def echo(self, peer: Peer, head: bytes) -> None:
        """Answer with the body."""
        self.bodies.append(await peer.body(head))
        await peer.send(answer(self.bodies[-1]))

    def answers(self, *pieces: bytes) -> None:
        """From here on each request gets *pieces*, and then the connection's end."""

        async def script(peer: Peer, head: bytes) -> None:
            self.bodies.append(await peer.body(head))
            await peer.send(*pieces)

        self.script = script


@pytest.fixture(scope="session")
async def scripted() -> AsyncIterator[Backend]:
    """The backend of :func:`backend`, with whatever script."""
    backend = Backend()
    async with serving(backend.serve) as backend.served:
        yield backend


@pytest.fixture
def backend(scripted: Backend) -> Iterator[Backend]:
    """A backend with a script, which echoes at first."""
    scripted.heads.clear()
    scripted.bodies.clear()
    scripted.script = scripted.echo
    yield scripted
    assert scripted.served.errors == []


@pytest.fixture(scope="module")
async def front(scripted: Backend, serve: Serve) -> Served:
    """A server in front of :func:`backend`, whose model is ``m``; speech must begin soon."""
    url = scripted.served.url
    return serve(
        f'[gateway]\nmax_json = 100000\nmax_upload = "1 GiB"\n'
        f'[plugins.vllm]\nurl = "{url}"\nmodels = ["m"]\nlimit = 3\nqueue = 2\n'
        f'[plugins.vllm.aliases]\nother = "m"\n'
        f'[plugins.parakeet]\nurl = "{url}"\nmodels = ["m", "parakeet"]\n'
        f'[plugins.kokoro]\nurl = "{url}"\nfirst_byte_s = 0.2\n'
    )


@pytest.fixture
async def web(front: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client of :func:`front`."""
    async with httpx.AsyncClient(base_url=front.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


async def exchange(server: Served, request: bytes) -> bytes:
    """Send *request* as it is; what comes until the connection's end."""
    reader, writer = await server.open()
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()
