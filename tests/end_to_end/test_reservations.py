"""The reservation is true for all workers of a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from .serving import served

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_of_many_programs_one_holds_it_whatever_worker_they_reach(tmp_path: Path) -> None:
    """Sixteen try at once, four times; the token of the one works at every worker."""
    with served(tmp_path, "", workers=3) as url:
        lock = f"{url}/api/swap/lock"
        # Each request has a connection of its own, so that all workers get some.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:
            for _ in range(4):
                asked = [{"holder": f"program {n}", "ttl_s": 60} for n in range(16)]
                answers = await asyncio.gather(*(client.post(lock, json=body) for body in asked))
                assert sorted(answer.status_code for answer in answers) == [201] + 15 * [409]
                [token] = [a.json()["token"] for a in answers if a.status_code == 201]
                shown = {"x-spark-lock-token": token}
                renewed = [client.put(lock, json={"ttl_s": 60}, headers=shown) for _ in range(8)]
                assert {answer.status_code for answer in await asyncio.gather(*renewed)} == {200}
                ended = [client.delete(lock, headers=shown) for _ in range(8)]
                codes = sorted([answer.status_code for answer in await asyncio.gather(*ended)])
                assert codes == [204] + 7 * [404]
