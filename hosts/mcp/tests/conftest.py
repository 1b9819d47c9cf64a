"""An agent's side: the SDK's own client, and a plugin of the tests' own in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

SPARK = [sys.executable, "-m", "spark_core_cli"]

Connect = Callable[..., AbstractAsyncContextManager[ClientSession]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the plugin of ``probe.py`` in it, as if it was installed there."""
    site = tmp_path_factory.mktemp("site")
    (site / "probe.py").write_text(Path(__file__).with_name("probe.py").read_text())
    info = site / "spark_core_probe-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spark-core-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[spark_core]\nprobe = probe\n")
    return site


@dataclass
class Home:
    """A folder with settings, in which ``spark`` is run."""

    path: Path
    site: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "VIRTUAL_ENV", "LANG")}
        return kept | {"PYTHONPATH": str(self.site)}

    def write(self, toml: str) -> None:
        (self.path / "spark.toml").write_text(toml)

    def run(self, *words: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run ``spark`` to its end."""
        return subprocess.run(
            [*SPARK, *words],
            cwd=self.path,
            env=self.environment,
            input=input,
            capture_output=True,
            timeout=60,
        )

    def start(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        # A test run in the background ignores SIGINT, and so would its children.
        return subprocess.Popen(
            [*SPARK, *words],
            cwd=self.path,
            env=self.environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **streams,
        )

    def parameters(self) -> StdioServerParameters:
        command, *words = [*SPARK, "mcp"]
        return StdioServerParameters(
            command=command, args=words, env=self.environment, cwd=self.path
        )


@pytest.fixture
def home(tmp_path: Path, site: Path) -> Home:
    return Home(tmp_path, site)


@pytest.fixture
def err(tmp_path: Path) -> Iterator[TextIO]:
    """A file for what servers say on standard error."""
    with (tmp_path / "err.txt").open("w") as file:
        yield file


@asynccontextmanager
async def over_stdio(home: Home, err: TextIO) -> AsyncIterator[ClientSession]:
    """A client of a ``spark mcp`` of its own."""
    async with (
        stdio_client(home.parameters(), err) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


@asynccontextmanager
async def over_http(url: str) -> AsyncIterator[ClientSession]:
    """A client of the server at *url*."""
    async with streamable_http_client(url) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


@dataclass
class Server:
    """A ``spark mcp --http``."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def root(self) -> str:
        return self.url.removesuffix("/mcp")


@contextmanager
def serving(home: Home) -> Iterator[Server]:
    """A server in *home*."""
    with home.start(
        "mcp", "--http", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("Serving MCP at http"), process.communicate(timeout=60)
        yield Server(line.split()[3], process)
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[Server]:
    """A server for tests that need no settings."""
    with serving(Home(tmp_path_factory.mktemp("server"), site)) as server:
        yield server


@pytest.fixture
def serve(home: Home) -> Iterator[Callable[[str], Server]]:
    """Starts a server with settings of a test's own."""
    with ExitStack() as stack:

        def start(toml: str = "") -> Server:
            home.write(toml)
            return stack.enter_context(serving(home))

        yield start


@pytest.fixture(params=["stdio", "http"])
def connect(request: pytest.FixtureRequest, home: Home, err: TextIO) -> Connect:
    """Connects clients, over each transport: to a process each, or to one that serves all.

    ``connect(toml)`` connects to one that has these settings.
    """

    def client(toml: str = "") -> AbstractAsyncContextManager[ClientSession]:
        if request.param == "stdio":
            home.write(toml)
            return over_stdio(home, err)
        fixture = request.getfixturevalue("serve" if toml else "server")
        return over_http((fixture(toml) if toml else fixture).url)

    return client


def text_of(result: CallToolResult) -> str:
    """What a tool said in words."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text
