"""Closed doors: nobody is let in, nobody is forgotten, and what came of whom is counted."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_core.errors import NotFound
from spark_core.gateway.admission import Admission, Busy, Pool, Priority, open_admission

pytestmark = pytest.mark.anyio

Open = Callable[..., AbstractAsyncContextManager[Admission]]

#: Far beyond the end of any test.
LONG = 3600.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """The time, as a test says."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(tmp_path: Path, clock: Clock) -> Open:
    """Opens an admission to *pools* (by default one called "a" with two places)."""

    def opener(*pools: Pool) -> AbstractAsyncContextManager[Admission]:
        return open_admission(tmp_path / "gateway", pools or (Pool("a", 2),), clock)

    return opener


async def waiting(door: Admission, *names: str, **options: float) -> asyncio.Task[str]:
    """A request that is in line; it goes at once when it was let in."""

    async def visit() -> str:
        with await door.admit(names or ("a",), **options) as slot:  # type: ignore[arg-type]
            return slot.name

    task = asyncio.create_task(visit())
    await asyncio.sleep(0)
    return task


def counts(door: Admission, name: str = "a") -> tuple[int, int, int]:
    return door.door(name)[2:]


# -------------------------------------------------------------------------------------- closed


async def test_nobody_is_let_in_by_any_process_while_a_door_is_closed(
    door: Open, clock: Clock
) -> None:
    async with door() as one, door() as other:
        one.close("a", clock.now + 10)
        assert one.try_admit(["a"]) is None
        assert other.try_admit(["a"]) is None


async def test_those_who_wait_are_let_in_by_all_processes_when_it_opens(
    door: Open, clock: Clock
) -> None:
    async with door() as one, door() as other:
        one.close("a", clock.now + 10)
        tasks = [await waiting(one), await waiting(other), await waiting(one)]
        one.open("a")
        assert one.in_flight("a") == 2  # two of them at once, of whatever process
        assert await asyncio.gather(*tasks) == ["a"] * 3


async def test_a_door_opens_by_itself_when_its_time_is_over(door: Open, clock: Clock) -> None:
    async with door() as one, door() as other:
        one.close("a", clock.now + 10)
        task = await waiting(other)
        clock.now += 10
        with await one.admit(["a"]):
            pass
        assert await task == "a"


async def test_who_waits_sees_by_itself_that_the_time_is_over(tmp_path: Path) -> None:
    async with open_admission(tmp_path / "gateway", [Pool("a", 1)]) as one:
        one.close("a", time.time() + 0.05)
        with await one.admit(["a"]):
            assert time.time() >= one.door("a").closed_until


async def test_a_door_that_is_closed_again_stays_closed_for_longer(
    door: Open, clock: Clock
) -> None:
    async with door() as one:
        one.close("a", clock.now + 10)
        one.close("a", clock.now + 20)
        clock.now += 15
        assert one.try_admit(["a"]) is None
        clock.now += 5
        assert one.try_admit(["a"]) is not None


async def test_those_who_waited_go_first_when_the_time_is_over(door: Open, clock: Clock) -> None:
    async with door(Pool("a", 1)) as one:
        one.close("a", clock.now + 10)
        task = await waiting(one)
        clock.now += 10
        with await one.admit(["a"]):
            assert task.done()


async def test_other_pools_are_not_closed(door: Open, clock: Clock) -> None:
    pools = (Pool("gpu", 4), Pool("a", 2, within="gpu"), Pool("b", 2, within="gpu"))
    async with door(*pools) as one:
        one.close("a", clock.now + 10)
        task = await waiting(one, "a")
        assert (await one.admit(["b"])).name == "b"
        assert (await one.admit(["a", "b"])).name == "b"
        one.open("a")
        await task


async def test_a_wider_pools_door_closes_those_within(door: Open, clock: Clock) -> None:
    async with door(Pool("gpu", 4), Pool("a", 2, within="gpu")) as one:
        one.close("gpu", clock.now + 10)
        assert one.try_admit(["a"]) is None
        task = await waiting(one)
        clock.now += 1
        one.open("gpu")
        await task
        assert (counts(one, "gpu"), counts(one, "a")) == ((1, 0, 0), (0, 0, 0))


async def test_a_door_that_is_no_ones_is_told(door: Open, clock: Clock) -> None:
    async with door() as one:
        with pytest.raises(NotFound, match="'b'"):
            one.close("b", clock.now + 10)


# ------------------------------------------------------------------------------------ drained


async def test_a_pool_is_drained_when_what_is_in_flight_in_all_processes_ended(
    door: Open, clock: Clock
) -> None:
    async with door() as one, door() as other:
        held = await other.admit(["a"])
        one.close("a", clock.now + 10)
        assert not await one.drained("a", 0)
        drained = asyncio.create_task(one.drained("a", LONG))
        held.release()
        assert await drained


# -------------------------------------------------------------------------------------- counts


async def test_a_request_that_waited_at_a_closed_door_is_counted_once_it_is_in(
    door: Open, clock: Clock
) -> None:
    async with door() as one:
        one.close("a", clock.now + 10)
        task = await waiting(one)
        assert counts(one) == (0, 0, 0)
        clock.now += 1
        one.open("a")
        await task
        assert counts(one) == (1, 0, 0)


async def test_a_request_that_waited_for_room_alone_met_no_door(door: Open, clock: Clock) -> None:
    async with door(Pool("a", 1)) as one:
        one.close("a", clock.now + 10)
        clock.now += 20
        held = await one.admit(["a"])
        task = await waiting(one)
        held.release()
        await task
        assert counts(one) == (0, 0, 0)


async def test_a_request_that_waited_before_the_door_closed_is_counted(
    door: Open, clock: Clock
) -> None:
    async with door(Pool("a", 1)) as one:
        held = await one.admit(["a"])
        task = await waiting(one)
        clock.now += 1
        one.close("a", clock.now + 10)
        held.release()
        clock.now += 1
        one.open("a")
        await task
        assert counts(one) == (1, 0, 0)


async def test_who_gives_up_at_a_closed_door_is_counted_as_refused(
    door: Open, clock: Clock
) -> None:
    async with door() as one:
        one.close("a", clock.now + 10)
        with pytest.raises(Busy, match="closed for now"):
            await one.admit(["a"], wait_s=0.01)
        task = await waiting(one)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert counts(one) == (0, 2, 0)


async def test_who_is_refused_by_a_full_queue_at_a_closed_door_is_counted(
    door: Open, clock: Clock
) -> None:
    async with door(Pool("a", 1, queue=0)) as one:
        one.close("a", clock.now + 10)
        with pytest.raises(Busy):
            await one.admit(["a"])
        assert counts(one) == (0, 1, 0)


async def test_who_fails_behind_a_closed_door_is_counted(door: Open, clock: Clock) -> None:
    async with door() as one:
        one.lost("a")
        one.close("a", clock.now + 10)
        one.lost("a")
        assert counts(one) == (0, 0, 1)


# ------------------------------------------------------------------------------------ refusing


async def test_a_door_that_refuses_does_so_at_once(door: Open, clock: Clock) -> None:
    async with door() as one, door() as other:
        one.close("a", clock.now + 10, refuse=True)
        with pytest.raises(Busy, match="closed for now"):
            await other.admit(["a"])
        assert counts(one) == (0, 1, 0)


async def test_who_waited_before_a_door_refuses_keeps_its_place(door: Open, clock: Clock) -> None:
    async with door(Pool("a", 1)) as one:
        held = await one.admit(["a"])
        task = await waiting(one)
        one.close("a", clock.now + 10, refuse=True)
        held.release()
        one.open("a")
        assert await task == "a"


async def test_a_request_that_could_go_elsewhere_is_not_refused(door: Open, clock: Clock) -> None:
    async with door(Pool("a", 1), Pool("b", 1)) as one:
        held = await one.admit(["b"])
        one.close("a", clock.now + 10, refuse=True)
        task = await waiting(one, "a", "b")
        held.release()
        assert await task == "b"


async def test_the_expected_wait_includes_how_long_the_door_is_closed(
    door: Open, clock: Clock
) -> None:
    async with door() as one:
        one.close("a", clock.now + 10, refuse=True)
        with pytest.raises(Busy) as refused:
            await one.admit(["a"])
        assert 10 <= refused.value.expected_s <= 12
        one.close("a", clock.now + 10, expected=clock.now + 100, refuse=True)
        with pytest.raises(Busy) as refused:
            await one.admit(["a"])
        assert 100 <= refused.value.retry_after <= 102


# ----------------------------------------------------------------------------- several processes

VISITOR = """
import asyncio, pathlib, sys
from spark_core.gateway.admission import Pool, open_admission
async def visit(door):
    while True:
        with await door.admit(["a"]):
            await asyncio.sleep(0.001)
        print("in", flush=True)
async def main():
    async with open_admission(pathlib.Path(sys.argv[1]), [Pool("a", 3)]) as door:
        await asyncio.gather(*(visit(door) for _ in range(4)))
asyncio.run(main())
"""


@asynccontextmanager
async def visitors(folder: Path, count: int) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Processes of four visitors each, who come again and again."""
    command = [sys.executable, "-c", VISITOR, str(folder)]
    started = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(count)
    ]
    try:
        for process in started:
            await came_in(process)
        yield started
    finally:
        for process in started:
            process.kill()
            await process.communicate()


async def came_in(process: asyncio.subprocess.Process) -> None:
    """Wait until somebody in *process* was let in."""
    assert process.stdout is not None
    assert await process.stdout.readline() == b"in\n"


async def until_all_wait(door: Admission, count: int) -> None:
    """Other processes tell nobody that they wait."""
    async with asyncio.timeout(30):
        while door.states()[0].waiting < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def read_all(process: asyncio.subprocess.Process) -> None:
    """Read what *process* has said so far, to the end of what is there."""
    assert process.stdout is not None
    while True:
        try:
            async with asyncio.timeout(0.2):
                await process.stdout.readline()
        except TimeoutError:
            return


async def test_real_processes_are_kept_out_and_go_on_when_the_door_opens(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    async with open_admission(folder, [Pool("a", 3)]) as door, visitors(folder, 3) as processes:
        for _ in range(3):
            door.close("a", time.time() + LONG)
            assert await door.drained("a", 30)
            await until_all_wait(door, 12)
            assert door.in_flight("a") == 0
            for process in processes:
                await read_all(process)
            before = door.door("a").queued
            door.open("a")
            for process in processes:
                await came_in(process)
            assert door.door("a").queued - before >= 3


async def test_the_door_of_a_process_that_was_killed_opens_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    closer = (
        "import pathlib, sys, time, os, asyncio\n"
        "from spark_core.gateway.admission import Pool, open_admission\n"
        "async def main():\n"
        "    async with open_admission(pathlib.Path(sys.argv[1]), [Pool('a', 3)]) as door:\n"
        "        door.close('a', time.time() + 1)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    async with open_admission(folder, [Pool("a", 3)]) as door:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", closer, str(folder))
        await process.wait()
        with await door.admit(["a"], wait_s=30):
            assert time.time() >= door.door("a").closed_until > 0


# ----------------------------------------------------------------------------------- everything


@asynccontextmanager
async def members(directory: Path, count: int, pools: list[Pool]) -> AsyncIterator[list[Admission]]:
    if not count:
        yield []
        return
    async with open_admission(directory, pools) as one, members(directory, count - 1, pools) as all:
        yield [one, *all]


class Watch:
    """Sees to the rules whenever something happens."""

    def __init__(self, door: Admission) -> None:
        self._door = door
        self._closed: dict[str, tuple[float, int]] = {}
        self.broken: list[str] = []

    def look(self) -> None:
        """Nobody more than the limit; and nobody more than when the door was found closed."""
        for state in self._door.states():
            if state.in_flight > state.limit:
                self.broken.append(f"{state.in_flight} in {state.name}")
            if not state.closed:
                self._closed.pop(state.name, None)
                continue
            until, before = self._closed.get(state.name, (0.0, state.in_flight))
            same = until == state.door.closed_until  # else it was opened and closed meanwhile
            if same and state.in_flight > before:
                self.broken.append(f"let into {state.name}, which is closed")
            self._closed[state.name] = (state.door.closed_until, state.in_flight)


async def visit(door: Admission, names: list[str], seed: random.Random, watch: Watch) -> None:
    """Come, stay for a while, and go; sometimes leave before one's turn."""
    for _ in range(seed.randrange(20)):
        await asyncio.sleep(0)
    priority = seed.choice(list(Priority))
    watch.look()
    try:
        async with asyncio.timeout(seed.choice([None, None, 0.001])):
            slot = await door.admit(names, caller=seed.choice("xyz"), priority=priority)
    except (Busy, TimeoutError):
        return
    try:
        watch.look()
        await asyncio.sleep(seed.choice([0, 0.001]))
    finally:
        slot.release()
        watch.look()


async def open_and_close(doors: list[Admission], seed: random.Random, watch: Watch) -> None:
    """Close this and that door, for long or short, and leave each open at the end."""
    for _ in range(12):
        name = seed.choice(["gpu", "a", "b"])
        if seed.random() < 0.5:
            until = time.time() + seed.choice([0.0, 0.002, LONG])
            seed.choice(doors).close(name, until, refuse=seed.random() < 0.2)
        else:
            seed.choice(doors).open(name)
        watch.look()
        await asyncio.sleep(seed.choice([0, 0, 0.001]))
        watch.look()
    for name in ("gpu", "a", "b"):
        seed.choice(doors).open(name)


@given(number=st.integers(0, 2**32), count=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_nobody_is_let_in_at_a_closed_door_and_nobody_is_forgotten_when_it_opens(
    tmp_path_factory: pytest.TempPathFactory, number: int, count: int
) -> None:
    pools = [Pool("gpu", 3), Pool("a", 2, within="gpu"), Pool("b", 2, 5, "gpu"), Pool("c", 1)]

    seed = random.Random(number)  # what is drawn depends on the moment, too

    async def run() -> None:
        async with members(tmp_path_factory.mktemp("m"), count, pools) as doors:
            watch = Watch(doors[0])
            choices = [["a"], ["b"], ["a", "b"], ["c"], ["a", "b", "c"]]
            visits = [
                visit(seed.choice(doors), seed.choice(choices), seed, watch) for _ in range(50)
            ]
            async with asyncio.timeout(30):
                await asyncio.gather(open_and_close(doors, seed, watch), *visits)
            assert watch.broken == []
            assert [(s.in_flight, s.waiting) for s in doors[0].states()] == [(0, 0)] * 4

    asyncio.run(run())
