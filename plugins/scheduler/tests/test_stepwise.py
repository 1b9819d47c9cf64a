"""Work that is driven no step further than it may go."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_scheduler.stepwise import Stepwise

pytestmark = pytest.mark.anyio


async def test_it_gives_what_the_work_gives_and_raises_what_it_raises() -> None:
    async def work(fails: bool) -> int:
        await asyncio.sleep(0)
        if fails:
            raise LookupError
        return 7

    assert await Stepwise(work(False), lambda: True) == 7
    with pytest.raises(LookupError):
        await Stepwise(work(True), lambda: True)


async def test_no_step_is_taken_that_may_not_be() -> None:
    """Though what it waited for is there, and its cancelling is still to come."""
    done: list[str] = []
    may, go = [True], asyncio.Event()

    async def work() -> None:
        done.append("begin")
        await go.wait()
        done.append("more")

    task = asyncio.ensure_future(_of(Stepwise(work(), lambda: may[0])))
    await asyncio.sleep(0)
    may[0] = False
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["begin"]


async def test_what_is_cancelled_can_clean_up_and_keep_its_timeouts() -> None:
    cleaned: list[str] = []

    async def work() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            cleaned.append("timeout")
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("finally")
        return ""

    task = asyncio.ensure_future(_of(Stepwise(work(), lambda: True)))
    while not cleaned:  # noqa: ASYNC110 - until the work's own timeout
        await asyncio.sleep(0.005)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["timeout", "finally"]


async def _of(step: Stepwise[object]) -> object:
    return await step
