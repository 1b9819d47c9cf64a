"""Two machines like Sparks, a folder with the settings for them, and ``spark serve`` there."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from spark_core_lab import sparks
from spark_core_lab.sparks.machine import Spark

import spark_core

#: Seconds for anything that is waited for: only a failure takes as long.
PATIENCE = 60.0

MODELS = """
models:
  small: {repo: lab/small, memory_gib: 60, ready_s: 60, aliases: [chat]}
  large: {repo: lab/large, memory_gib: 60, ready_s: 60}
  pair: {repo: lab/pair, memory_gib: 60, ready_s: 60, nodes: 2}
  hasty: {repo: lab/hasty, memory_gib: 60, ready_s: 2}
  hasty_pair: {repo: lab/pair, memory_gib: 60, ready_s: 3, nodes: 2}
  slow_one: {repo: lab/slow, memory_gib: 60, ready_s: 600}
"""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def machines() -> Iterator[tuple[Spark, Spark]]:
    """Two machines, while the block runs; the first is where clients are served from."""
    if not Path(sparks.SSHD).exists():
        pytest.skip("openssh-server is not installed")
    with sparks.start(2) as (head, other):
        yield head, other


@pytest.fixture
def pair() -> Iterator[tuple[Spark, Spark]]:
    """Two machines of a test's own."""
    with machines() as pair:
        yield pair


@dataclass
class Folder:
    """Where commands are given: spark.toml, models.yaml, and what they keep."""

    path: Path
    pair: tuple[Spark, Spark]
    environment: dict[str, str] = field(default_factory=dict)

    def write(
        self,
        *,
        swaps: str = "release_s = 5",
        ssh: str = "",
        vllm: str = "",
        launch: str = "",
        more: str = "",
        models: str = MODELS,
    ) -> None:
        """Write the settings anew, with more lines in their tables."""
        head = self.pair[0]
        machines = ", ".join(
            f'{{ name = "{s.name}", host = "{s.host}", user = "{s.user}", port = {s.port} }}'
            for s in self.pair
        )
        tables = {
            "plugins.ssh": f'key = "{head.key}"\nknown_hosts = "{head.known_hosts}"\n'
            f"machines = [{machines}]\n{ssh}",
            "plugins.vllm": f'host = "{head.host}"\nport = {head.vllm_port}\n{vllm}',
            "plugins.vllm.launch": f'cluster = "{head.launcher}"\n{launch}',
            "swaps": swaps,
        }
        toml = "\n".join(f"[{name}]\n{lines}" for name, lines in tables.items())
        (self.path / "spark.toml").write_text(f"{toml}\n{more}\n")
        (self.path / "models.yaml").write_text(models)

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of what is run here."""
        return {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")} | self.environment

    def open(self) -> AbstractAsyncContextManager[spark_core.Spark]:
        """As a program that embeds the library."""
        return spark_core.open(self.path / "spark.toml", environ=self.variables)

    def spark(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Give a command, as a person does."""
        return subprocess.run(
            [sys.executable, "-m", "spark_core_cli", *words],
            cwd=self.path,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def served(self) -> list[str]:
        """The names that the machine itself lists at its port; none where nothing answers."""
        head = self.pair[0]
        try:
            answer = httpx.get(f"http://{head.host}:{head.vllm_port}/v1/models", trust_env=False)
        except httpx.HTTPError:
            return []
        return [model["id"] for model in answer.json()["data"]]


@pytest.fixture
def folder(pair: tuple[Spark, Spark], tmp_path: Path) -> Folder:
    """A folder for the machines; its settings may be written anew."""
    made = Folder(tmp_path, pair)
    made.write()
    return made


@dataclass
class Served:
    """A server that runs."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def client(self) -> httpx.AsyncClient:
        """A plain client of it, with a new connection for each request: so all workers get some."""
        limits = httpx.Limits(max_keepalive_connections=0)
        how = {"timeout": PATIENCE, "trust_env": False, "limits": limits}
        return httpx.AsyncClient(base_url=self.url, **how)

    def kill(self) -> None:
        """Kill it with all its workers at once, as a loss of power does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)


Serve = Callable[..., Served]


@pytest.fixture
def serve(folder: Folder) -> Iterator[Serve]:
    """Starts ``spark serve`` in the folder, as often as is wanted; at the end all are stopped."""
    servers: list[Served] = []

    def start(*, workers: int = 2, port: int = 0) -> Served:
        log = folder.path / f"serve{len(servers)}.log"
        words = ("serve", "--port", str(port), "--workers", str(workers))
        with log.open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "spark_core_cli", *words],
                cwd=folder.path,
                env=folder.variables,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, log.read_text()
        servers.append(Served(found[0], process, log))
        httpx.get(f"{found[0]}/health", timeout=PATIENCE)  # what comes now is not kept waiting
        return servers[-1]

    yield start
    for server in servers:
        with suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGQUIT)
    for server in servers:
        with server.process:  # which closes its output, too
            try:
                server.process.wait(PATIENCE)
            finally:
                server.kill()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it *holds*: what other processes do is told to nobody."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def receipt(http: httpx.AsyncClient, swap: str) -> dict[str, Any]:
    """The receipt of a swap, when it has ended."""
    found: dict[str, Any] = {}

    async def has_ended() -> bool:
        found.update((await http.get(f"/api/swaps/{swap}")).json())
        return found["outcome"] is not None

    await eventually(has_ended)
    return found
