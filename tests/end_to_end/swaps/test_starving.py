"""A model that is wanted is there within its bound, while traffic on another never stops."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import httpx
import pytest

from .conftest import Folder, Serve

pytestmark = pytest.mark.anyio

#: What settings promise, in seconds; and what two swaps and a slow machine may add.
BOUND = 8.0
SWAPPING = 30.0


def question(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": True}


async def asked(client: httpx.AsyncClient, model: str, **headers: str) -> httpx.Response:
    """A whole answer of *model*."""
    answer = await client.post("/v1/chat/completions", json=question(model), headers=headers)
    if answer.status_code == 200:
        assert answer.text.rstrip().endswith("data: [DONE]")
    return answer


async def test_steady_traffic_on_one_model_does_not_starve_another(
    folder: Folder, serve: Serve
) -> None:
    folder.write(
        swaps=f'on_demand = "wait"\nmax_wait_s = {BOUND}\nmin_residency_s = 1\nrelease_s = 20'
    )
    server = serve(workers=2)
    async with httpx.AsyncClient(
        base_url=server.url,
        timeout=120,
        trust_env=False,
        limits=httpx.Limits(max_connections=None),
    ) as client:
        await client.post("/api/swap", json={"model": "small", "wait": True})
        busy = [asyncio.create_task(_always(client, "small")) for _ in range(8)]
        try:
            began = time.monotonic()
            answer = await asked(client, "large", **{"x-spark-wait": "100"})
            waited = time.monotonic() - began
        finally:
            for task in busy:
                task.cancel()
            for task in busy:
                with suppress(asyncio.CancelledError):
                    await task
    assert answer.status_code == 200, answer.text
    assert waited <= BOUND + SWAPPING


async def _always(client: httpx.AsyncClient, model: str) -> None:
    while True:
        answer = await asked(client, model, **{"x-spark-wait": "100"})
        assert answer.status_code in (200, 503, 404), answer.text


async def test_a_model_that_is_not_to_be_waited_for_is_there_when_they_come_again(
    folder: Folder, serve: Serve
) -> None:
    """Until then they are told when, in OpenAI's shape."""
    folder.write(swaps='on_demand = "reject"\nmin_residency_s = 0\nrelease_s = 20')
    server = serve(workers=2)
    async with server.client() as client:
        first = await asked(client, "small")
        assert first.status_code == 503
        assert int(first.headers["retry-after"]) >= 1
        assert first.json()["error"]["position"] == 1
        async with asyncio.timeout(60):
            while (await asked(client, "small")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.5)


async def test_a_model_nobody_may_have_on_demand_is_unknown(folder: Folder, serve: Serve) -> None:
    server = serve(workers=1)
    async with server.client() as client:
        await client.post("/api/swap", json={"model": "small", "wait": True})
        answer = await asked(client, "large")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "small" in answer.json()["error"]["message"]
