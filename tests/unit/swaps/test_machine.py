"""A swap is a transaction: the new model is ready, or the old one is back, or it says why not."""

from __future__ import annotations

import asyncio

import pytest

from spark_core.contracts.model_hosts import Launch
from spark_core.errors import BackendError, LeaseLost, Unavailable
from spark_core.swaps.machine import Machine
from spark_core.swaps.memory import GIB
from spark_core.swaps.models import Outcome, Phase

from .swap_world import World

pytestmark = pytest.mark.anyio

FORWARD = ["admitted", "drained", "stopped", "released", "launched", "loading", "ready"]
BACK = ["-drained", "-stopped", "-released", "-launched", "-loading", "-ready"]


async def test_a_swap_goes_through_every_phase_to_ready(world: World) -> None:
    swap = await world.swap("small")
    assert (swap.outcome, swap.serving, swap.failure) == (Outcome.READY, "small", None)
    assert await world.phases(swap) == FORWARD


async def test_items_7_the_old_model_is_gone_before_the_new_one_is_launched(world: World) -> None:
    await world.swap("small")
    await world.swap("large")
    assert [launch.name for launch, _ in world.host.launches] == ["small", "large"]
    assert world.host.head.memory_available == 50 * GIB  # one model, not two


async def test_the_receipt_has_memory_before_between_and_after(world: World) -> None:
    await world.swap("small")
    swap = await world.swap("large")
    memory = swap.memory["spark1"]
    assert (memory.before, memory.empty, memory.after) == (50 * GIB, 110 * GIB, 50 * GIB)


async def test_what_is_in_flight_is_drained_and_counted(world: World) -> None:
    await world.swap("small")
    world.door.in_flight = 3
    swap = await world.swap("large")
    assert (swap.counts.drained, swap.counts.lost) == (3, 0)


async def test_what_arrives_meanwhile_is_counted(world: World) -> None:
    def arrive() -> None:
        world.door.total.queued += 1
        world.door.total.refused += 2

    world.when_paused = [arrive]
    swap = await world.swap("small")
    assert swap.counts.queued == world.pauses
    assert swap.counts.refused == 2 * world.pauses


async def test_a_drain_that_takes_too_long_touches_nothing(world: World) -> None:
    await world.swap("small")
    world.door.in_flight, world.door.takes = 2, 9
    swap = await world.swap("large", drain_s=5)
    assert (swap.outcome, swap.failure.code, swap.serving) == ("refused", "not-drained", "small")
    assert not world.door.closed


async def test_the_door_is_closed_while_it_swaps_and_open_afterwards(world: World) -> None:
    seen = []
    world.when_paused = [lambda: seen.append(world.door.closed)]
    await world.swap("small")
    assert all(seen)
    assert not world.door.closed


async def test_a_model_that_is_up_already_is_left_alone(world: World) -> None:
    await world.swap("small")
    swap = await world.swap("small")
    assert (swap.outcome, len(world.host.launches)) == (Outcome.READY, 1)


async def test_a_model_that_does_not_fit_is_refused_with_the_numbers(world: World) -> None:
    await world.swap("small")
    swap = await world.swap("huge")
    assert (swap.outcome, swap.failure.code) == ("refused", "not-enough-memory")
    numbers = swap.failure.evidence["spark1"]
    assert numbers["available_gib"] == 50.0
    assert numbers["comes_back_gib"] == 60.0
    assert numbers["short_gib"] == 96.0
    assert swap.serving == "small"


async def test_each_node_needs_the_memory(world: World) -> None:
    world.host.nodes["spark2"].memory_available = 20 * GIB
    swap = await world.swap("pair")
    assert (swap.outcome, [*swap.failure.evidence]) == ("refused", ["spark2"])
    assert (await world.swap("small")).outcome == "ready"  # it needs only the first


async def test_force_passes_the_memory_gate(world: World) -> None:
    world.host.nodes["spark1"].memory_available = 20 * GIB
    assert (await world.swap("small")).outcome == "refused"
    assert (await world.swap("small", force=True)).outcome == "ready"


async def test_what_was_not_started_from_here_is_not_stopped(world: World) -> None:
    world.host.run_foreign()
    swap = await world.swap("small")
    assert (swap.outcome, swap.failure.code, world.host.stops) == ("refused", "not-ours", [])
    swap = await world.swap("small", take_over=True)
    assert swap.outcome == "ready"


async def test_a_machine_that_cannot_be_looked_at_is_not_touched(world: World) -> None:
    world.host.nodes["spark2"].error = "no route to host"
    swap = await world.swap("small")
    assert (swap.outcome, swap.failure.code) == ("refused", "unreachable")
    assert "spark2: no route to host" in swap.failure.message


async def test_a_full_disk_is_seen_before_anything_is_touched(world: World) -> None:
    await world.swap("small")
    world.host.head.disk_free = 1000
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure.code, swap.serving) == ("refused", "disk-full", "small")
    assert swap.failure.evidence == {"spark1": {"free_gib": 0.0}}


async def test_an_empty_machine_can_be_asked_for(world: World) -> None:
    await world.swap("small")
    swap = await world.swap(None)
    assert (swap.outcome, swap.serving, swap.previous) == ("ready", None, "small")
    assert world.host.head.container is None


# ------------------------------------------------------------------------------- what goes wrong


async def test_items_6_a_model_that_crashes_while_loading_is_replaced_by_the_one_before(
    world,
) -> None:
    await world.swap("small")

    def crash(launch, count):
        if launch.name == "large":
            world.host.crash("torch.OutOfMemoryError: CUDA out of memory. Tried 2.00 GiB")
        elif count == 2:
            world.host.finish_loading()

    world.loads = crash
    swap = await world.swap("large")
    assert (swap.outcome, swap.serving) == ("rolled_back", "small")
    assert swap.failure.code == "out-of-memory"
    assert "CUDA out of memory" in swap.failure.evidence["log"][-1]
    assert await world.phases(swap) == [*FORWARD[:-1], *BACK]


async def test_a_model_that_restarts_is_a_crash_loop_not_a_slow_load(world: World) -> None:
    await world.swap("small")

    def loop(launch, count):
        if launch.name == "large":
            world.host.restart_container()
        else:
            world.host.finish_loading()

    world.loads = loop
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure.code) == ("rolled_back", "crash-loop")


async def test_a_slow_load_is_waited_for(world: World) -> None:
    world.loads = world.load_in(95)  # of 100 seconds
    assert (await world.swap("small")).outcome == "ready"


async def test_a_model_that_loads_for_ever_is_given_up_in_time(world: World) -> None:
    await world.swap("small")
    world.loads = lambda launch, count: (
        world.host.finish_loading() if launch.name == "small" else world.host.say(f"line {count}")
    )
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure.code) == ("rolled_back", "not-ready")
    assert swap.failure.evidence["log_lines"] > 50  # it was still saying things


async def test_items_6_a_server_that_lists_its_model_and_says_nothing_is_not_ready(
    world: World,
) -> None:
    world.models.mute = {"small"}
    swap = await world.swap("small")
    assert (swap.outcome, swap.failure.code) == ("failed", "not-ready")


async def test_a_launcher_that_starts_nothing_is_found_out(world: World) -> None:
    await world.swap("small")
    world.host.starts_nothing = True
    world.when_paused = [lambda: _recover(world)]
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure.code, swap.serving) == (
        "rolled_back",
        "nothing-started",
        "small",
    )


def _recover(world: World) -> None:
    """The launcher works again for the model before."""
    world.host.starts_nothing = not any(e.name == "large" for e, _ in world.host.launches)


@pytest.mark.parametrize(
    ("stays", "code"),
    [
        ("container_stays", "container-stays"),
        ("port_stays", "port-stays-busy"),
        ("memory_stays", "memory-not-released"),
    ],
)
async def test_nothing_is_loaded_on_top_of_what_does_not_go(world: World, stays, code) -> None:
    await world.swap("small")
    setattr(world.host.head, stays, True)
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure.code) == ("halted", code)
    assert [launch.name for launch, _ in world.host.launches] == ["small"]


async def test_memory_that_does_not_come_back_is_told_in_numbers(world: World) -> None:
    await world.swap("small")
    world.host.head.memory_stays = True
    swap = await world.swap("large")
    assert swap.failure.evidence["spark1"] == {"available_gib": 50.0, "wanted_gib": 108.0}


async def test_a_half_dead_pair_is_found_and_cleaned_up(world: World) -> None:
    await world.swap("small")
    world.loads = lambda launch, count: (
        world.host.finish_loading() if launch.name == "small" else world.host.crash(only="spark2")
    )
    swap = await world.swap("pair")
    assert (swap.outcome, swap.failure.code) == ("rolled_back", "half-dead")
    assert world.host.nodes["spark2"].container is None


async def test_a_connection_that_drops_while_it_loads_is_no_failure(world: World) -> None:
    def drop() -> None:
        world.host.head.error = "the connection broke" if world.pauses in (2, 3, 4) else None

    world.when_paused = [drop]
    world.loads = world.load_in(8)
    assert (await world.swap("small")).outcome == "ready"


async def test_a_launch_that_broke_off_may_have_begun(world: World) -> None:
    world.host.late_failures["launch"] = [Unavailable("the connection broke")]
    swap = await world.swap("small")
    assert (swap.outcome, len(world.host.launches)) == ("ready", 1)


async def test_a_launch_that_did_not_get_there_is_made_again(world: World) -> None:
    world.host.failures["launch"] = [Unavailable("the connection broke")]
    swap = await world.swap("small")
    assert (swap.outcome, len(world.host.launches)) == ("ready", 1)


async def test_a_launch_that_never_gets_there_is_given_up_in_time(world: World) -> None:
    world.host.failures["launch"] = [Unavailable("no route to host")] * 1000
    swap = await world.swap("small")
    assert (swap.outcome, swap.failure.code) == ("failed", "unreachable")
    assert "no route to host" in swap.failure.message


@pytest.mark.parametrize(("model", "ends"), [("small", "rolled_back"), ("pair", "failed")])
async def test_the_model_before_comes_back_where_it_needs_no_dead_machine(
    world: World, model: str, ends: str
) -> None:
    await world.swap(model)

    world.loads = lambda launch, count: (
        world.host.finish_loading()
        if launch.name == model
        else setattr(world.host.nodes["spark2"], "error", "no route to host")
    )
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure.code) == (ends, "not-ready")
    assert (swap.failure_back is not None) == (ends == "failed")


async def test_a_launch_that_is_refused_brings_the_old_model_back(world: World) -> None:
    await world.swap("small")
    world.host.failures["launch"] = [BackendError("no space left on device")]
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure.code) == ("rolled_back", "not-launched")


async def test_where_the_old_model_does_not_come_back_both_reasons_are_told(world: World) -> None:
    await world.swap("small")
    world.loads = lambda launch, count: world.host.crash("EngineDeadError")
    swap = await world.swap("large")
    assert (swap.outcome, swap.serving) == ("failed", None)
    assert (swap.failure.code, swap.failure_back.code) == ("engine-dead", "engine-dead")


async def test_a_model_that_fails_on_empty_machines_is_cleared_away(world: World) -> None:
    world.models.mute = {"small"}
    swap = await world.swap("small")
    assert (swap.outcome, swap.failure_back) == ("failed", None)
    assert world.host.head.container is None


async def test_a_swap_called_off_before_anything_changed_is_cancelled(world: World) -> None:
    await world.swap("small")
    swap = await world.admitted("large")
    await world.history.call_off(swap.id)
    swap = await world.drive(swap)
    assert (swap.outcome, swap.serving, len(world.host.stops)) == ("cancelled", "small", 1)


async def test_a_swap_called_off_while_it_loads_brings_the_old_model_back(world: World) -> None:
    await world.swap("small")
    called_off: list[asyncio.Task[object]] = []

    def load(launch: Launch, count: int) -> None:
        if launch.name == "small":
            world.host.finish_loading()
        elif not called_off:
            called_off.append(asyncio.create_task(world.history.call_off(swap.id)))

    world.loads = load
    swap = await world.admitted("large")
    done = await world.drive(swap)
    assert (done.outcome, done.failure.code) == ("rolled_back", "cancelled")


async def test_no_secret_of_the_model_is_in_its_log(world: World) -> None:
    world.loads = lambda launch, count: (
        world.host.say("HF_TOKEN=hunter2hunter2 is set"),
        world.host.finish_loading() if count == 5 else None,
    )
    swap = await world.swap("secret")
    lines = [e.text for e in await world.history.events(swap.id) if e.kind == "log"]
    assert lines
    assert set(lines) == {"HF_TOKEN=*** is set"}


# ------------------------------------------------------------------------- who drives it, dies


@pytest.mark.parametrize("phase", [p for p in Phase if p is not Phase.READY])
@pytest.mark.parametrize("written", [True, False])
async def test_another_controller_goes_on_where_the_first_was_killed(
    world: World, phase: Phase, written: bool
) -> None:
    """Killed just before or just after the phase is written down: never two launches."""
    await world.swap("small")
    swap = await world.admitted("large")
    lease = await world.leases.acquire("swap:fake", 5)
    machine = Machine(world.parts, swap, lease)
    _kill_at(machine, phase, written)
    with pytest.raises(_Killed):
        await machine.run()
    world.clock.advance(6)
    done = await world.drive(await world.history.find(swap.id))
    assert (done.outcome, done.serving) == ("ready", "large")
    assert [launch.name for launch, _ in world.host.launches] == ["small", "large"]


class _Killed(BaseException):
    pass


def _kill_at(machine: Machine, phase: Phase, written: bool) -> None:
    reach = machine._reach

    async def killed(reached: Phase, note: str = "") -> None:
        if reached is phase or phase is Phase.ADMITTED:
            if written and phase is not Phase.ADMITTED:
                await reach(reached, note)
            raise _Killed
        await reach(reached, note)

    machine._reach = killed  # type: ignore[method-assign]


async def test_who_lost_the_lease_does_nothing_more(world: World) -> None:
    swap = await world.admitted("small")
    old = await world.leases.acquire("swap:fake", 5)
    world.clock.advance(6)
    new = await world.leases.acquire("swap:fake", 50)
    await world.host.observe(fence=new.fence)
    with pytest.raises(LeaseLost):
        await Machine(world.parts, swap, old).run()
    assert world.host.launches == []
    assert (await world.history.find(swap.id)).outcome is None


async def test_what_is_gone_from_the_catalog_is_not_swapped_to(world: World) -> None:
    swap = await world.admitted("gone")
    done = await world.drive(swap)
    assert (done.outcome, done.failure.code) == ("refused", "not-found")
    assert world.host.stops == []
