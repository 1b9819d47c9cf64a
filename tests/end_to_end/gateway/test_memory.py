"""What a worker has in its memory, of all that is installed."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from spark_core_lab.running import Lab

from spark_core.plugins import Plugins

from .conftest import PATIENCE, Serve, Served, eventually, urls

pytestmark = pytest.mark.anyio

#: What is large, and has no part in passing requests on.
HEAVY = {
    "alembic",
    "asyncssh",
    "cryptography",
    "duckdb",
    "fastembed",
    "mcp",
    "numpy",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "qdrant_client",
    "qdrant_edge",
    "scipy",
    "splink",
    "sqlglot",
    "tokenizers",
}

#: Each process writes at its end what it has imported by then.
AT_THE_END = """
import atexit, os, pathlib, sys
atexit.register(lambda: pathlib.Path(f"modules-{os.getpid()}").write_text(" ".join(sys.modules)))
"""


async def services_run(folder: Path) -> None:
    """Wait until the worker of *folder* has had the lease of each background service."""
    services = [s for s in Plugins.discover().background_services() if not s.everywhere]
    query = "SELECT count(*) FROM leases WHERE name LIKE 'background:%'"

    async def held() -> int:
        with closing(sqlite3.connect(folder / ".spark" / "state.db")) as state:
            return int(state.execute(query).fetchone()[0])

    await eventually(held, lambda count: count >= len(services))


async def modules(server: Served) -> set[str]:
    """What the only worker of *server*, which is stopped, has imported; without submodules."""
    [worker] = server.workers()
    os.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(PATIENCE)
    text = (server.log.parent / f"modules-{worker}").read_text()
    return {name.partition(".")[0] for name in text.split()}


async def test_a_worker_that_answered_a_chat_has_loaded_no_heavy_library(
    lab: Lab, serve: Serve
) -> None:
    """They are imported when they are first used: a worker for each core holds its own."""
    server = serve(urls(lab), workers=1, change=AT_THE_END)
    chat = {"model": "lab/echo", "messages": [{"role": "user", "content": "one"}]}
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        (await client.post("/v1/chat/completions", json=chat)).raise_for_status()
    await services_run(server.log.parent)
    loaded = await modules(server)
    assert "spark_core_http" in loaded
    assert not loaded & HEAVY
