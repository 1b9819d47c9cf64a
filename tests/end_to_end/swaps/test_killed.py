"""Whoever works on a swap is killed at any moment: another goes on, and launches nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from contextlib import closing

import httpx
import pytest

from spark_core.swaps.driving import Swaps

from .conftest import Folder, Serve, eventually, receipt

pytestmark = pytest.mark.anyio

PHASES_BEFORE = ("admitted", "drained", "stopped", "released")

#: One of them is looked at in every run.
PHASES = [
    *(pytest.param(p, marks=pytest.mark.slow) for p in PHASES_BEFORE),
    "loading",
    pytest.param("launched", marks=pytest.mark.slow),
]


def holder(folder: Folder) -> int | None:
    """The process that works on the swap: the lease names it."""
    with closing(sqlite3.connect(folder.path / ".spark" / "state.db", timeout=10)) as state:
        row = state.execute("select holder from leases where name = 'swap:vllm'").fetchone()
    return int(row[0].rpartition(" ")[2]) if row and row[0] else None


def launched(folder: Folder) -> list[str]:
    """What the machine was ever told to launch."""
    launches = folder.pair[0].home / ".spark-core" / "launches"
    return sorted(path.name for path in launches.iterdir())


async def reached(http: httpx.AsyncClient, swap: str, phase: str) -> bool:
    steps = (await http.get(f"/api/swaps/{swap}")).json()["steps"]
    return any(step["phase"] == phase for step in steps)


@pytest.mark.parametrize("phase", PHASES)
async def test_another_controller_finishes_what_a_killed_one_began(
    folder: Folder, serve: Serve, phase: str
) -> None:
    """Killed with -9 in each phase: one launch, and the reservation still holds."""
    folder.pair[0].inject("load_seconds", 1.5)
    server = serve(workers=2)
    async with server.client() as http:
        answer = await http.post("/api/swap/lock", json={"holder": "ada", "ttl_s": 600})
        token = {"X-Spark-Lock-Token": answer.json()["token"]}
        swap = (await http.post("/api/swap", json={"model": "small"}, headers=token)).json()["id"]

        async def is_there() -> bool:
            return holder(folder) is not None and await reached(http, swap, phase)

        await eventually(is_there)
        victim = holder(folder)
        assert victim in server.workers()
        os.kill(victim, signal.SIGKILL)
        done = await receipt(http, swap)
        assert (done["outcome"], done["serving"]) == ("ready", "small"), json.dumps(done)
        assert launched(folder) == [swap]
        assert folder.served() == ["small", "chat"]
        assert (await http.get("/api/swap/lock")).json()["held"]
        refused = await http.post("/api/swap", json={"model": "large"})
        assert refused.status_code == 423


async def test_a_host_that_starts_again_finds_out_where_it_was(
    folder: Folder, serve: Serve
) -> None:
    """Everything is killed at once, as when the power fails; the lock survives, too."""
    folder.pair[0].inject("load_seconds", 2.0)
    server = serve(workers=2)
    async with server.client() as http:
        answer = await http.post("/api/swap/lock", json={"holder": "ada", "ttl_s": 600})
        token = {"X-Spark-Lock-Token": answer.json()["token"]}
        swap = (await http.post("/api/swap", json={"model": "small"}, headers=token)).json()["id"]
        await eventually(lambda: reached(http, swap, "launched"))
    server.kill()
    async with serve(workers=2).client() as http:
        done = await receipt(http, swap)
        assert (done["outcome"], done["serving"]) == ("ready", "small")
        assert launched(folder) == [swap]
        shown = (await http.get("/api/swap/lock")).json()
        assert (shown["held"], shown["holder"]) == (True, "ada")


async def test_a_command_that_waits_takes_no_server(folder: Folder) -> None:
    """It works on the swap itself; interrupted, the next one finishes it."""
    folder.pair[0].inject("load_seconds", 8.0)
    waiting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "spark_core_cli", "swap", "small", "--wait", "--yes"),
        cwd=folder.path,
        env=dict(folder.variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert waiting.stdout is not None
    async for line in waiting.stdout:
        if line.strip() == b"launched":
            waiting.send_signal(signal.SIGINT)
    _, told = await waiting.communicate()
    assert waiting.returncode == 130, told
    listed = json.loads(folder.spark("swaps", "list", "--json").stdout)["swaps"]
    assert listed[0]["outcome"] is None
    async with folder.open() as spark, asyncio.timeout(60):
        swaps = await spark.resolver.get(Swaps)
        ended = await swaps.ended(listed[0]["id"])
    assert ended.outcome == "ready"
    assert launched(folder) == [ended.id]
