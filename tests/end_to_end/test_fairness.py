"""Who goes first, over all workers, counted at the backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import spark_core_lab

from .serving import served

pytestmark = pytest.mark.anyio

LIMIT = 2
BATCH = 200


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def lab() -> AsyncIterator[spark_core_lab.Lab]:
    async with spark_core_lab.start("vllm", work_seconds=0.05) as lab:
        yield lab


@pytest.fixture
def url(tmp_path: Path, lab: spark_core_lab.Lab) -> Iterator[str]:
    with served(tmp_path, f'[plugins.vllm]\nurl = "{lab.vllm.url}"\nlimit = {LIMIT}\n', 4) as url:
        yield url


async def ask(client: httpx.AsyncClient, who: str, **headers: str) -> None:
    request = {"model": "lab/echo", "messages": [{"role": "user", "content": who}]}
    headers = {"x-request-id": who, **headers}
    answer = await client.post("/v1/chat/completions", json=request, headers=headers)
    assert answer.status_code == 200


async def test_an_interactive_request_among_200_batch_requests_waits_for_one_of_them(
    url: str, lab: spark_core_lab.Lab
) -> None:
    """No more of them begin after it came than can be at work at once."""
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(BATCH):
            batch = {"x-spark-priority": "batch"}
            tasks.create_task(ask(client, f"batch-{number}", **batch))
        await lab.vllm.until(lambda v: v.requests >= 20)
        before = lab.vllm.requests
        await ask(client, "interactive")
        calls = [call.headers.get("x-request-id") for call in lab.vllm.recent]
        newest = [who for who in calls if who and who.startswith(("batch", "interactive"))]
        after = len(newest) - 1 - newest.index("interactive")
        ahead = lab.vllm.requests - after - before - 1
    # One for each that was at work, and one for each that was let in while it came.
    assert ahead <= 2 * LIMIT
    assert lab.vllm.requests == BATCH + 1
    assert lab.vllm.peak <= LIMIT
