"""What an agent is told of long work: always more than before, and the last of it."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_mcp.progress import reporting

pytestmark = pytest.mark.anyio


class Agent:
    """Notes what it is told, and can be waited for."""

    def __init__(self) -> None:
        self.told: list[tuple[float, float | None, str]] = []
        self.heard = asyncio.Semaphore(0)

    async def tell(self, progress: float, total: float | None, words: str) -> None:
        self.told.append((progress, total, words))
        self.heard.release()


async def test_a_phase_begins_where_the_one_before_ended() -> None:
    """The protocol wants that it never becomes less."""
    agent = Agent()
    async with reporting(agent.tell) as progress:
        for phase, done in (("reading", 2), ("writing", 0), ("writing", 1)):
            progress.update(phase, done=done, total=2)
            await agent.heard.acquire()
    assert agent.told == [
        (2, 2, "reading: 2 of 2 items"),
        (3, 5, "writing: 0 of 2 items"),
        (4, 5, "writing: 1 of 2 items"),
    ]


async def test_what_is_no_more_than_before_is_not_told() -> None:
    agent = Agent()
    async with reporting(agent.tell) as progress:
        progress.update("reading", done=5)
        await agent.heard.acquire()
        progress.update("reading", done=4)
    assert [words for _, _, words in agent.told] == ["reading: 5 items"]


async def test_the_last_is_told_before_the_end() -> None:
    """Of what came in between, only the latest."""
    agent = Agent()
    async with reporting(agent.tell) as progress:
        for done in range(1000):
            progress.update("reading", done=done)
    assert [words for _, _, words in agent.told] == ["reading: 999 items"]
