"""Outages are written down, however short; a GPU that is busy is none."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import spark_core_lab
import spark_core_parakeet

from .serving import served

pytestmark = pytest.mark.anyio

PATIENCE = 30.0
LOCKS = Path("/proc/locks")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def lab() -> AsyncIterator[spark_core_lab.Lab]:
    async with spark_core_lab.start("vllm", "parakeet") as lab:
        yield lab


@pytest.fixture
def url(tmp_path: Path, lab: spark_core_lab.Lab) -> Iterator[str]:
    """Where ``spark serve`` with two workers listens, which watches the stand-ins."""
    toml = (
        f'[plugins.vllm]\nurl = "{lab.vllm.url}"\n[plugins.parakeet]\nurl = "{lab.parakeet.url}"\n'
    )
    with served(tmp_path, toml, workers=2) as url:
        yield url


@pytest.fixture
async def api(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        yield client


async def seen(api: httpx.AsyncClient, path: str, enough: Callable[[Any], bool]) -> Any:
    """What *path* answers when it is *enough*: another process has to notice first."""
    deadline = time.monotonic() + PATIENCE
    while not enough(answer := (await api.get(path)).json()):
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.05)  # the server tells nobody when its log grows
    return answer


def states(answer: Any) -> dict[str, str]:
    return {endpoint["name"]: endpoint["state"] for endpoint in answer["endpoints"]}


@pytest.mark.parametrize("seconds", [0.5, 1.5, pytest.param(6.0, marks=pytest.mark.slow)])
async def test_e1_an_outage_is_in_the_log_with_its_start_end_and_duration(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab, seconds: float
) -> None:
    await seen(api, "/api/endpoints", lambda a: states(a)["vllm"] == "ok")
    before = time.time()
    lab.vllm.faults.set("refuse", seconds=seconds)
    answer = await seen(
        api, "/api/connectivity", lambda a: a["outages"] and a["outages"][0]["end"] is not None
    )
    [outage] = answer["outages"]
    assert outage["backend"] == "vllm"
    check(outage, before, seconds)


def check(outage: Any, before: float, seconds: float) -> None:
    """It begins and ends when it did, as far as five looks a second can tell."""
    start = datetime.fromisoformat(outage["start"]).timestamp() - before
    assert -0.3 <= start < 0.8
    assert seconds - 0.1 <= start + outage["duration_s"] < seconds + 0.8


def prober(folder: Path) -> int:
    """The process that holds the probe's lock."""
    lock = os.stat(folder / ".spark" / "gateway" / "probe").st_ino
    [holder] = re.findall(rf"FLOCK\s+ADVISORY\s+WRITE\s+(\d+)\s+\S+:{lock}\s", LOCKS.read_text())
    return int(holder)


async def test_e1_an_outage_is_in_the_log_though_the_process_that_probes_is_killed(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab, tmp_path: Path
) -> None:
    await seen(api, "/api/endpoints", lambda a: states(a)["vllm"] == "ok")
    os.kill(prober(tmp_path), signal.SIGKILL)
    before = time.time()
    lab.vllm.faults.set("refuse", seconds=1.5)
    async with httpx.AsyncClient(base_url=api.base_url, timeout=PATIENCE) as another:
        answer = await seen(
            another, "/api/connectivity", lambda a: a["outages"] and a["outages"][0]["end"]
        )
    [outage] = answer["outages"]
    check(outage, before, 1.5)


async def test_e2_a_busy_gpu_is_busy_and_no_outage(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab
) -> None:
    """Its health check is silent while it works, as the real one's is."""
    await seen(api, "/api/endpoints", lambda a: states(a)["parakeet"] == "ok")
    lab.parakeet.knobs.work_seconds = 3
    clip = Path(spark_core_parakeet.__file__).with_name("clip.wav").read_bytes()
    upload = {"file": ("a.wav", clip)}
    async with asyncio.TaskGroup() as tasks:
        works = [
            tasks.create_task(api.post("/v1/audio/transcriptions", files=upload)) for _ in range(2)
        ]
        await seen(api, "/api/health", lambda a: a["components"]["parakeet"]["in_flight"] == 2)
        health = (await api.get("/api/health")).json()
        assert health["components"]["parakeet"]["state"] == "busy"
    assert [work.result().status_code for work in works] == [200, 200]
    assert (await api.get("/api/connectivity")).json() == {"outages": []}
