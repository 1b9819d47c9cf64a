"""Whatever goes wrong in a swap, it ends in a named state with the evidence, and with the model
before where that is possible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from spark_core_lab.sparks.machine import Spark

import spark_core
from spark_core.errors import BackendError
from spark_core.swaps import driving, evidence, machine
from spark_core.swaps.machine import Machine
from spark_core.swaps.models import Phase, Swap

from .conftest import MODELS, PATIENCE, Folder, machines

pytestmark = pytest.mark.anyio

Act = Callable[[], object]


@dataclass
class Town:
    """The machines, and a program that swaps their models."""

    folder: Folder
    spark: spark_core.Spark
    acts: dict[str, Act] = field(default_factory=dict)

    @property
    def head(self) -> Spark:
        return self.folder.pair[0]

    @property
    def other(self) -> Spark:
        return self.folder.pair[1]

    async def swap(self, model: str, at: Mapping[str, Act] | None = None, **asked: Any) -> Swap:
        """Swap, and give the receipt; in each phase of *at* something is done before the next.

        A phase with a minus is one on the way back.
        """
        self.acts = dict(at or {})
        swap = ""
        request = {"model": model, "wait": True, **asked}
        with suppress(BackendError):  # the receipt tells
            async with asyncio.timeout(PATIENCE):
                async for event in self.spark.stream("swap", request):
                    swap = getattr(event, "swap", swap)
        return await self.receipt(swap)

    async def receipt(self, swap: str) -> Swap:
        found = await self.spark.call("swaps.show", {"id": swap})
        assert isinstance(found, Swap)
        return found

    async def log(self, swap: Swap) -> list[str]:
        events = self.spark.stream("swaps.events", {"id": swap.id})
        return [event.text async for event in events if event.kind == "log"]  # type: ignore[attr-defined]

    def recover(self) -> None:
        """All is well with both machines again."""
        for spark in self.folder.pair:
            spark.start_sshd()
            spark.clear()

    def launches(self) -> list[str]:
        """What the first machine wrote down of what was launched there."""
        folder = self.head.home / ".spark-core/launches"
        return [file.name for file in folder.iterdir() if not file.name.startswith(".")]


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Two machines for all tests; whoever looks at them does so often."""
    with machines() as pair, pytest.MonkeyPatch.context() as patch:
        folder = Folder(tmp_path_factory.mktemp("faults"), pair)
        broken = folder.path / "broken.sh"  # what the shell in this model's container does first
        broken.write_text("echo Engine core initialization failed. See root cause above.; exit 1")
        entry = f"{{repo: lab/broken, memory_gib: 60, env: {{BASH_ENV: {broken}}}}}"
        folder.write(
            models=f"{MODELS}  broken: {entry}\n",
            swaps="release_s = 1.5",
            launch="grace_s = 5",
            ssh="connect_s = 2\nkeep_alive_s = 1",
        )
        patch.setattr(evidence, "GRACE", 2.0)
        patch.setattr(machine, "POLL", 0.1)
        patch.setattr(driving, "LOOK", 0.05)
        async with folder.open() as spark:
            town = Town(folder, spark)
            patch.setattr(Machine, "_reach", _acting(town))
            yield town


def _acting(town: Town) -> Any:
    reach = Machine._reach

    async def reach_and_act(self: Machine, phase: Phase, note: str = "") -> None:
        await reach(self, phase, note)
        name = f"{'-' if self._swap.back else ''}{phase}"
        if name in town.acts:
            await asyncio.to_thread(town.acts[name])

    return reach_and_act


@pytest.fixture
async def town(opened: Town) -> AsyncIterator[Town]:
    """Nothing is wrong, and ``small`` answers."""
    town = opened
    town.recover()
    swap = await town.swap("small", take_over=True)
    assert swap.outcome == "ready", swap.failure
    assert town.folder.served() == ["small", "chat"]
    yield town
    town.recover()


def told(swap: Swap) -> tuple[str | None, str | None, str | None]:
    """How it ended, why, and what answers now."""
    return swap.outcome, swap.failure and swap.failure.code, swap.serving


def back_again(town: Town, swap: Swap) -> bool:
    """The model before answers again; the receipt and the machine say so."""
    return (swap.outcome, swap.serving, town.folder.served()) == (
        "rolled_back",
        "small",
        ["small", "chat"],
    )


# ----------------------------------------------------------------------- what does not begin


@pytest.mark.slow
async def test_a_launcher_that_exits_with_0_and_starts_nothing(town: Town) -> None:
    town.head.inject("starts_nothing")
    swap = await town.swap("large", {"-drained": town.recover})
    assert told(swap) == ("rolled_back", "nothing-started", "small")
    assert "Starting Head Node..." in swap.failure.evidence["log"]
    assert back_again(town, swap)


async def test_a_full_disk_is_seen_before_anything_is_touched(town: Town) -> None:
    town.head.inject("disk_full")
    swap = await town.swap("large")
    assert told(swap) == ("refused", "disk-full", "small")
    assert "spark1" in swap.failure.message
    assert town.folder.served() == ["small", "chat"]


@pytest.mark.slow
async def test_a_disk_that_fills_up_meanwhile(town: Town) -> None:
    swap = await town.swap(
        "large", {"released": lambda: town.head.inject("disk_full"), "-drained": town.recover}
    )
    assert told(swap) == ("rolled_back", "disk-full", "small")
    assert any("no space left" in line for line in swap.failure.evidence["log"])
    assert back_again(town, swap)


@pytest.mark.slow
async def test_a_disk_that_stays_full_takes_both_models_and_both_are_told(town: Town) -> None:
    swap = await town.swap("large", {"released": lambda: town.head.inject("disk_full")})
    assert told(swap) == ("failed", "disk-full", None)
    assert swap.failure_back.code == "disk-full"
    assert town.folder.served() == []


# --------------------------------------------------------------------------- what does not go


async def test_a_container_that_stays(town: Town) -> None:
    town.head.inject("container_stays")
    swap = await town.swap("large")
    assert told(swap)[:2] == ("halted", "container-stays")
    [container] = town.head.docker("ps", "-q", "--no-trunc").stdout.split()
    assert swap.failure.evidence["containers"] == {"spark1": container}
    assert swap.serving == ("small" if town.folder.served() else None)


@pytest.mark.slow
async def test_a_port_that_stays_busy(town: Town) -> None:
    town.head.inject("port_stays", town.head.vllm_port)
    swap = await town.swap("large")
    assert told(swap) == ("halted", "port-stays-busy", None)
    assert swap.failure.evidence["ports_busy_on"] == ["spark1"]
    assert town.head.docker("ps", "-q").stdout == ""


async def test_memory_that_does_not_come_back(town: Town) -> None:
    town.head.inject("memory_stays")
    swap = await town.swap("large")
    assert told(swap) == ("halted", "memory-not-released", None)
    assert swap.failure.evidence == {"spark1": {"available_gib": 50.0, "wanted_gib": 108.0}}
    assert town.head.docker("ps", "-q").stdout == ""
    again = await town.swap("large")  # nor is anything loaded on top later
    assert told(again) == ("refused", "not-enough-memory", None)


# --------------------------------------------------------------------------- what does not load


async def test_a_model_that_crashes_while_it_loads(town: Town) -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"

    def crash() -> None:
        town.head.inject("crash", {"after": 0.3, "exit": 1, "lines": [line]})
        town.head.inject("loads_for_ever")

    swap = await town.swap("large", {"released": crash, "-drained": town.recover})
    assert told(swap) == ("rolled_back", "out-of-memory", "small")
    assert line in swap.failure.evidence["log"]
    assert line in await town.log(swap)
    assert back_again(town, swap)


@pytest.mark.slow
async def test_a_model_that_loads_for_ever(town: Town) -> None:
    town.head.inject("loads_for_ever")
    swap = await town.swap("hasty", {"-drained": town.recover})
    assert told(swap) == ("rolled_back", "not-ready", "small")
    assert swap.failure.evidence["available_gib"]["last"] == 50.0
    assert any("75% Completed" in line for line in swap.failure.evidence["log"])
    assert back_again(town, swap)


# ---------------------------------------------------------------------------- the second machine


async def test_a_second_machine_that_is_dead_before(town: Town) -> None:
    town.other.stop_sshd()
    swap = await town.swap("pair")
    assert told(swap) == ("refused", "unreachable", "small")
    assert "spark2" in swap.failure.message
    assert town.folder.served() == ["small", "chat"]


@pytest.mark.slow
async def test_a_second_machine_that_dies_while_the_model_loads(town: Town) -> None:
    """The model before needs the first machine alone, so it is brought back."""
    town.head.inject("loads_for_ever")  # as one whose other half does not answer

    def die() -> None:
        town.other.stop_sshd()
        town.other.docker("kill", "vllm_node")

    swap = await town.swap("hasty_pair", {"loading": die, "-drained": town.head.clear})
    assert told(swap) == ("rolled_back", "not-ready", "small")
    assert "spark2" in swap.failure.evidence["unseen"]
    assert back_again(town, swap)


@pytest.mark.slow
async def test_a_half_of_a_pair_that_ends(town: Town) -> None:
    town.head.inject("loads_for_ever")

    def end() -> None:
        town.other.docker("kill", "vllm_node")

    swap = await town.swap("pair", {"loading": end, "-drained": town.recover})
    assert told(swap) == ("rolled_back", "half-dead", "small")
    assert "spark2" in swap.failure.message
    assert back_again(town, swap)


# ------------------------------------------------------------------------------- connections


@pytest.mark.slow
async def test_a_connection_that_breaks_before_the_launch_got_there(town: Town) -> None:
    """The machine is away for a moment: it is told again, and launches once."""

    def away() -> None:
        town.head.stop_sshd()
        asyncio.run_coroutine_threadsafe(_later(town.head.start_sshd, 1.0), loop)

    loop, before = asyncio.get_running_loop(), town.launches()
    swap = await town.swap("large", {"released": away})
    assert told(swap) == ("ready", None, "large")
    assert set(town.launches()) - set(before) == {swap.id}


async def _later(act: Act, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await asyncio.to_thread(act)


@pytest.mark.slow
async def test_connections_that_break_all_the_time_while_it_launches(town: Town) -> None:
    before = town.launches()

    async def drop() -> None:
        for _ in range(20):
            await asyncio.to_thread(town.head.drop)
            await asyncio.sleep(0.1)

    loop = asyncio.get_running_loop()
    begin = partial(asyncio.run_coroutine_threadsafe, drop(), loop)
    swap = await town.swap("large", {"released": begin})
    assert told(swap) == ("ready", None, "large")
    assert set(town.launches()) - set(before) == {swap.id}
    assert len(town.head.docker("ps", "-q").stdout.split()) == 1


async def test_a_connection_that_breaks_while_the_model_loads(town: Town) -> None:
    """The launch goes on without it, and no line of its log is missing or there twice."""
    town.head.inject("load_seconds", 2)

    def away() -> None:
        town.head.stop_sshd()
        town.head.start_sshd()

    swap = await town.swap("large", {"loading": away})
    assert told(swap) == ("ready", None, "large")
    shards = [line for line in await town.log(swap) if "checkpoint shards" in line]
    assert [line.rpartition(":")[2].strip() for line in shards] == [
        f"{percent}% Completed" for percent in (0, 25, 50, 75, 100)
    ]


# ------------------------------------------------------------------------------- what people see


async def test_the_command_tells_both_things(town: Town) -> None:
    """That the new model is not there and why, and that the old one is."""
    done = await asyncio.to_thread(town.folder.spark, "swap", "broken", "--wait", "--yes")
    assert done.returncode != 0
    assert "rolled back" in done.stderr
    assert "its log says engine dead" in done.stderr
    assert "small answers" in done.stderr
    assert town.folder.served() == ["small", "chat"]


@pytest.fixture(autouse=True)
def nothing_is_left(opened: Town) -> Iterator[None]:
    """No test leaves two containers, on whatever machine."""
    yield
    for spark in opened.folder.pair:
        assert len(spark.docker("ps", "-q").stdout.split()) <= 1
