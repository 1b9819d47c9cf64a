"""Models are swapped under steady traffic: no stream is cut, and every request is accounted for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx
import pytest

from .conftest import PATIENCE, Folder, Serve

pytestmark = pytest.mark.anyio

#: Streams begun in each second.
RATE = 50

QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}


class Traffic:
    """Streamed chats at a steady rate, whatever becomes of them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._ended = asyncio.Event()
        self.asked = 0
        self.answers: Counter[int] = Counter()
        self.broken: list[str] = []

    async def run(self) -> None:
        """Ask until it is told to end, then wait for what is under way."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while not self._ended.is_set():
                tasks.create_task(self._ask())
                self.asked += 1
                await asyncio.sleep(max(0.0, began + self.asked / RATE - time.monotonic()))

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()

    async def _ask(self) -> None:
        text = b""
        try:
            async with self._client.stream("POST", "/v1/chat/completions", json=QUESTION) as answer:
                async for piece in answer.aiter_bytes():
                    text += piece
        except httpx.HTTPError as error:
            self.broken.append(repr(error))
            return
        self.answers[answer.status_code] += 1
        if answer.status_code == 200 and not text.rstrip().endswith(b"data: [DONE]"):
            self.broken.append(f"cut off after {text[-60:]!r}")


@pytest.mark.parametrize(
    "swaps", [pytest.param(2, id="2"), pytest.param(10, id="10", marks=pytest.mark.slow)]
)
async def test_no_stream_is_lost_however_often_the_model_is_swapped(
    folder: Folder, serve: Serve, swaps: int
) -> None:
    """50 a second, four workers; counted by the clients, in the receipts, and at the backend."""
    head, _ = folder.pair
    head.inject("knobs", {"tokens": 8, "token_seconds": 0.01})
    folder.write(vllm="queue = 1024", swaps="release_s = 20")
    server = serve(workers=4)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=server.url, timeout=4 * PATIENCE, limits=limits, trust_env=False
    ) as client:
        await client.post("/api/swap", json={"model": "small", "wait": True})
        traffic = Traffic(client)
        running = asyncio.create_task(traffic.run())
        receipts = []
        for number in range(swaps):
            model = ("large", "small")[number % 2]
            answer = await client.post("/api/swap", json={"model": model, "wait": True})
            receipts.append(answer.json())
            assert receipts[-1]["serving"] == model, answer.text
        traffic.end()
        await running
    assert traffic.broken == []
    assert set(traffic.answers) <= {200, 503}
    assert sum(traffic.answers.values()) == traffic.asked
    assert [receipt["counts"]["lost"] for receipt in receipts] == [0] * swaps
    assert sum(receipt["counts"]["drained"] for receipt in receipts) > 0
    assert sum(receipt["counts"]["queued"] for receipt in receipts) > 0
    told = sum(receipt["counts"]["refused"] for receipt in receipts)
    assert traffic.answers[503] == 0 or told > 0
    assert await aborted(head.host, head.vllm_port) == 0


async def aborted(host: str, port: int) -> float:
    """How many requests the model's own server saw broken off."""
    async with httpx.AsyncClient(trust_env=False) as client:
        lines = (await client.get(f"http://{host}:{port}/metrics")).text.splitlines()
    found = [line for line in lines if 'finished_reason="abort"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)
