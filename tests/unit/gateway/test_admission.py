"""Admission: limits, and the order of those who wait, over all processes of a host."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_core.errors import Unavailable
from spark_core.gateway.admission import Admission, Busy, Pool, Priority, Slot, open_admission
from spark_core.gateway.table import POOLS, Table

pytestmark = pytest.mark.anyio

Open = Callable[..., AbstractAsyncContextManager[Admission]]

BATCH = Priority.BATCH

#: Two backends that share a GPU with one place.
GPU = (Pool("gpu", 1), Pool("a", 3, within="gpu"), Pool("b", 3, within="gpu"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def door(tmp_path: Path) -> Open:
    """Opens an admission to *pools* (by default one called "a" with one place)."""

    def opener(*pools: Pool) -> AbstractAsyncContextManager[Admission]:
        return open_admission(tmp_path / "gateway", pools or (Pool("a", 1),))

    return opener


class Line:
    """Requests that wait, by name, and the order in which they were let in."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def join(
        self,
        door: Admission,
        name: str,
        caller: str = "",
        pools: Sequence[str] = "a",
        priority: Priority = Priority.INTERACTIVE,
    ) -> None:
        """Wait as *name*, let the next one go at once when it is one's turn."""

        async def wait() -> None:
            with await door.admit(pools, caller=caller, priority=priority):
                self.order.append(name)

        self.tasks.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)

    async def over(self) -> list[str]:
        await asyncio.gather(*self.tasks)
        return self.order


def in_flight(door: Admission, name: str = "a") -> int:
    return next(state.in_flight for state in door.states() if state.name == name)


# ------------------------------------------------------------------------------------- limits


async def test_no_more_than_the_limit_are_let_in(door: Open) -> None:
    async with door(Pool("a", 2)) as one:
        assert [one.try_admit(["a"]) is not None for _ in range(3)] == [True, True, False]


async def test_the_limit_holds_for_all_processes_together(door: Open) -> None:
    async with door() as one, door() as other:
        held = one.try_admit(["a"])
        assert held is not None
        assert other.try_admit(["a"]) is None
        held.release()
        assert other.try_admit(["a"]) is not None


async def test_a_place_is_given_back_once(door: Open) -> None:
    async with door(Pool("a", 2)) as one:
        first, _second = await one.admit(["a"]), await one.admit(["a"])
        first.release()
        first.release()
        assert in_flight(one) == 1


async def test_a_pool_within_another_needs_room_in_both(door: Open) -> None:
    pools = (Pool("gpu", 2), Pool("a", 2, within="gpu"), Pool("b", 2, within="gpu"))
    async with door(*pools) as one:
        first = await one.admit(["a"])
        await one.admit(["b"])
        assert one.try_admit(["a"]) is None
        assert one.try_admit(["b"]) is None
        first.release()
        assert one.try_admit(["b"]) is not None


async def test_of_several_pools_the_one_with_the_least_work_for_its_limit_is_taken(
    door: Open,
) -> None:
    async with door(Pool("small", 1), Pool("large", 4)) as one:
        names = [(await one.admit(["small", "large"])).name for _ in range(5)]
    assert sorted(names) == ["large"] * 4 + ["small"]


async def test_whoever_waits_for_several_pools_takes_the_first_that_has_room(door: Open) -> None:
    async with door(Pool("a", 1), Pool("b", 1)) as one:
        await one.admit(["a"])
        held = await one.admit(["b"])
        waiting = asyncio.create_task(one.admit(["a", "b"]))
        await asyncio.sleep(0)
        held.release()
        assert (await waiting).name == "b"


# -------------------------------------------------------------------------------------- order


async def test_those_who_wait_are_let_in_one_after_the_other(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        for name in "123":
            await line.join(one, name)
        held.release()
        assert await line.over() == ["1", "2", "3"]


async def test_a_process_lets_in_those_who_wait_in_another(door: Open) -> None:
    async with door() as one, door() as other:
        held, line = await one.admit(["a"]), Line()
        await line.join(other, "1")
        await line.join(one, "2")
        await line.join(other, "3")
        held.release()
        assert await line.over() == ["1", "2", "3"]


async def test_a_caller_with_one_request_goes_ahead_of_anothers_many(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        for number in range(20):
            await line.join(one, f"many {number}", caller="many")
        await line.join(one, "single", caller="single")
        held.release()
        assert (await line.over()).index("single") == 1


async def test_two_callers_with_many_requests_take_turns(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        for caller in "xxxxyyyy":
            await line.join(one, caller, caller=caller)
        held.release()
        assert await line.over() == list("xyxyxyxy")


async def test_an_interactive_request_waits_for_one_of_two_hundred_batch_requests(
    door: Open,
) -> None:
    async with door(Pool("a", 1, queue=256)) as one:
        held, line = await one.admit(["a"]), Line()
        for number in range(200):
            await line.join(one, f"batch {number}", priority=BATCH)
        await line.join(one, "interactive")
        held.release()
        assert (await line.over())[0] == "interactive"


async def test_nobody_overtakes_those_who_wait(door: Open) -> None:
    async with door(Pool("a", 1), Pool("b", 1)) as one:
        held, line = await one.admit(["a"]), Line()
        await line.join(one, "first")
        held.release()
        with await one.admit(["a"]):
            assert line.order == ["first"]


async def test_what_a_caller_had_from_one_backend_of_a_gpu_is_no_claim_on_another(
    door: Open,
) -> None:
    async with door(*GPU) as one:
        held, line = await one.admit(["a"]), Line()
        for number in range(30):
            await line.join(one, f"earlier {number}", caller="first", pools="b")
        held.release()
        await line.over()
        held, line = await one.admit(["a"]), Line()
        for number in range(30):
            await line.join(one, f"many {number}", caller="many", pools="a")
        await line.join(one, "single", caller="single", pools="b")
        held.release()
        assert (await line.over()).index("single") == 1


async def test_who_was_just_let_in_gives_way_to_who_came_since(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        first = asyncio.create_task(one.admit(["a"], caller="many"))
        await asyncio.sleep(0)
        await line.join(one, "many", caller="many")
        held.release()
        held = await first
        await line.join(one, "single", caller="single")
        held.release()
        assert await line.over() == ["single", "many"]


@given(seed=st.randoms(use_true_random=False), places=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_callers_who_wait_for_one_gpu_are_served_alike_whatever_was_before(
    tmp_path_factory: pytest.TempPathFactory, seed: random.Random, places: int
) -> None:
    """Whenever all of them wait, none was served more than once more than another."""
    pools = [Pool("gpu", places), *(Pool(name, 3, within="gpu") for name in "ab")]
    choices = [["a"], ["b"], ["a", "b"]]

    async def run() -> list[str]:
        async with members(tmp_path_factory.mktemp("f"), 2, pools) as doors:
            earlier = seed.choices("wxyz", weights=[seed.random() for _ in "wxyz"], k=40)
            held = [await doors[0].admit(["a"]) for _ in range(places)]
            line = Line()
            for caller in earlier:
                names = seed.choice(choices)
                await line.join(seed.choice(doors), caller, caller=caller, pools=names)
            held.pop().release()
            await line.over()
            held += [await doors[0].admit(["a"]) for _ in range(places - len(held))]
            line = Line()
            for caller in seed.sample("wxyz" * 8, k=32):
                await line.join(doors[0], caller, caller=caller, pools=seed.choice(choices))
            held.pop().release()
            order = await line.over()
            for slot in held:
                slot.release()
            return order

    order = asyncio.run(run())
    end = min(len(order) - order[::-1].index(caller) for caller in "wxyz")
    for begin in range(end):
        for stop in range(begin, end):
            counts = [order[begin:stop].count(caller) for caller in "wxyz"]
            assert max(counts) - min(counts) <= 1


# ------------------------------------------------------------------------------------ refusals


async def test_a_full_queue_refuses_and_says_where_one_would_be(door: Open) -> None:
    async with door(Pool("a", 1, queue=2)) as one:
        held, line = await one.admit(["a"]), Line()
        await line.join(one, "1")
        await line.join(one, "2")
        with pytest.raises(Busy, match="position 3") as refused:
            await one.admit(["a"])
        assert refused.value.position == 3
        assert refused.value.retry_after >= 1
        held.release()
        await line.over()


async def test_a_queue_full_of_batch_requests_takes_interactive_ones(door: Open) -> None:
    async with door(Pool("a", 1, queue=1)) as one:
        held, line = await one.admit(["a"]), Line()
        await line.join(one, "batch", priority=BATCH)
        await line.join(one, "interactive")
        held.release()
        assert await line.over() == ["interactive", "batch"]


async def test_whoever_waits_too_long_is_refused_with_its_position(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        await line.join(one, "1")
        with pytest.raises(Busy, match="position 2"):
            await one.admit(["a"], wait_s=0.01)
        assert [state.waiting for state in one.states()] == [1]
        held.release()
        await line.over()


async def test_the_expected_wait_follows_from_what_requests_take(door: Open) -> None:
    async with door(Pool("a", 2, queue=0)) as one:
        slots = [await one.admit(["a"]) for _ in range(2)]
        slots[0].since -= 10.0  # it took ten seconds
        slots.pop(0).release()
        slots.append(await one.admit(["a"]))
        with pytest.raises(Busy) as refused:
            await one.admit(["a"])
        assert 4 < refused.value.expected_s < 6


async def test_the_position_counts_all_who_wait_for_the_same_gpu(door: Open) -> None:
    async with door(*GPU) as one:
        held, line = await one.admit(["a"]), Line()
        for number in range(5):
            await line.join(one, str(number), caller=str(number))
        with pytest.raises(Busy) as refused:
            await one.admit(["b"], caller="other", wait_s=0)
        assert refused.value.position == 6
        held.release()
        await line.over()


async def test_the_expected_wait_is_that_for_the_gpu_and_what_waits_for_it(door: Open) -> None:
    async with door(*GPU) as one:
        held = await one.admit(["a"])
        held.since -= 10.0  # it took ten seconds
        held.release()
        held, line = await one.admit(["a"]), Line()
        for number in range(3):
            await line.join(one, str(number), caller=str(number))
        with pytest.raises(Busy) as refused:
            await one.admit(["b"], caller="other", wait_s=0)
        assert 29 < refused.value.expected_s < 31
        held.release()
        await line.over()


async def test_a_caller_with_many_before_it_is_told_of_its_turn_among_them(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        for number in range(9):
            await line.join(one, str(number), caller="many")
        with pytest.raises(Busy, match="position 2"):
            await one.admit(["a"], caller="single", wait_s=0)
        held.release()
        await line.over()


# -------------------------------------------------------------------------------------- leaving


async def test_whoever_leaves_the_line_leaves_nothing_behind(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        await line.join(one, "left")
        await line.join(one, "stayed")
        line.tasks.pop(0).cancel()
        held.release()
        assert await line.over() == ["stayed"]
        assert [(s.in_flight, s.waiting) for s in one.states()] == [(0, 0)]


async def test_whoever_leaves_when_its_turn_comes_gives_the_place_to_the_next(door: Open) -> None:
    async with door() as one:
        held, line = await one.admit(["a"]), Line()
        await line.join(one, "left")
        await line.join(one, "stayed")
        held.release()
        line.tasks.pop(0).cancel()
        assert await line.over() == ["stayed"]
        assert in_flight(one) == 0


async def test_a_process_that_ends_gives_back_what_it_held(door: Open) -> None:
    async with door() as one:
        async with door() as other:
            await other.admit(["a"])
            assert one.try_admit(["a"]) is None
        assert one.try_admit(["a"]) is not None


HOLDER = """
import asyncio, pathlib, sys
from spark_core.gateway.admission import Pool, open_admission
async def main():
    async with open_admission(pathlib.Path(sys.argv[1]), [Pool("a", 1)]) as door:
        await door.admit(["a"])
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_what_a_killed_process_held_is_given_back(door: Open, tmp_path: Path) -> None:
    async with door() as one:
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "gateway")]
        holder = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        waiting = asyncio.create_task(one.admit(["a"]))
        await asyncio.sleep(0)
        assert not waiting.done()
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        assert (await waiting).name == "a"


async def test_a_file_of_another_layout_is_begun_anew(door: Open, tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "table").write_bytes(b"something else" * 1000)
    async with door() as one:
        assert one.try_admit(["a"]) is not None


async def test_the_shared_file_is_its_owners_alone(door: Open, tmp_path: Path) -> None:
    async with door():
        modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "gateway").iterdir()}
    assert set(modes.values()) == {0o600}


# ----------------------------------------------------------------------------------- everything


@asynccontextmanager
async def members(directory: Path, count: int, pools: list[Pool]) -> AsyncIterator[list[Admission]]:
    if not count:
        yield []
        return
    async with open_admission(directory, pools) as one, members(directory, count - 1, pools) as all:
        yield [one, *all]


async def visit(door: Admission, names: list[str], seed: random.Random, seen: list[int]) -> None:
    """Come, stay for a while, and go; sometimes leave before one's turn."""
    priority = seed.choice(list(Priority))
    try:
        async with asyncio.timeout(seed.choice([None, None, 0.001])):
            slot: Slot = await door.admit(names, caller=seed.choice("xyz"), priority=priority)
    except (Busy, TimeoutError):
        return
    try:
        seen.append(max(state.in_flight - state.limit for state in door.states()))
        await asyncio.sleep(seed.choice([0, 0.001]))
    finally:
        slot.release()


@given(seed=st.randoms(use_true_random=False), count=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_whatever_happens_no_limit_is_exceeded_and_everything_is_given_back(
    tmp_path_factory: pytest.TempPathFactory, seed: random.Random, count: int
) -> None:
    pools = [Pool("gpu", 3), Pool("a", 2, within="gpu"), Pool("b", 2, 5, "gpu"), Pool("c", 1)]

    async def run() -> None:
        seen: list[int] = []
        async with members(tmp_path_factory.mktemp("m"), count, pools) as doors:
            choices = [["a"], ["b"], ["a", "b"], ["c"], ["a", "b", "c"]]
            visits = (
                visit(seed.choice(doors), seed.choice(choices), seed, seen) for _ in range(60)
            )
            await asyncio.gather(*visits)
            states = doors[0].states()
        assert max(seen, default=0) <= 0
        assert [(s.in_flight, s.waiting) for s in states] == [(0, 0)] * 4

    asyncio.run(run())


# --------------------------------------------------------------------------------------- limits


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path)
    yield table
    table.close()


def test_a_pool_keeps_its_place_whoever_asks_first(table: Table, tmp_path: Path) -> None:
    other = Table(tmp_path)
    with table:
        places = [table.pool(name) for name in "abc"]
    with other:
        assert [other.pool(name) for name in "cba"] == places[::-1]
    other.close()


def test_places_of_pools_that_nobody_has_any_more_are_used_again(tmp_path: Path) -> None:
    for number in range(POOLS + 3):
        table = Table(tmp_path)
        with table:
            table.pool("stays")
            index = table.pool(f"pool {number}")
            table.add(index, table.member, 1)
            table.set_seconds(index, 7.0)
            table.doors.close(index, 1e12, 0.0, False)
        table.close()
    table = Table(tmp_path)
    with table:
        found = table.pool("new")
    assert (table.in_flight(found), table.seconds(found)) == (0, 0.0)
    assert not table.doors.shut(found, 0.0)
    table.close()


def test_a_pool_that_some_process_has_keeps_its_place(table: Table, tmp_path: Path) -> None:
    other = Table(tmp_path)
    with table:
        kept = table.pool("kept")
    with other:
        for number in range(POOLS - 1):
            other.pool(f"pool {number}")
        with pytest.raises(Unavailable, match="more than"):
            other.pool("one more")
    other.close()
    with table:
        assert {table.pool(f"again {number}") for number in range(POOLS - 1)} == (
            {*range(POOLS)} - {kept}
        )
