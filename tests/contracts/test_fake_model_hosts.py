"""The fake model host keeps the contract, so tests that use it mean something."""

from __future__ import annotations

import pytest

from spark_core.contracts.model_hosts import Launch
from spark_core.errors import Unavailable
from spark_core.testing.model_hosts import FakeModelHost, ModelHostConformance, Rig

pytestmark = pytest.mark.anyio

LAUNCH = Launch("one", "tiny", "lab/tiny", "tiny")


class FakeRig:
    """Meddles with the fake."""

    def __init__(self) -> None:
        self.host = FakeModelHost(("spark1", "spark2"))

    async def run_foreign(self) -> None:
        self.host.run_foreign()

    async def cut(self, node: str) -> None:
        self.host.nodes[node].error = "no route to host"

    async def crash(self, *lines: str) -> None:
        self.host.crash(*lines)

    async def received(self) -> tuple[list[str], dict[str, str]]:
        launch, _ = self.host.launches[-1]
        return list(launch.arguments), dict(launch.environment)


class TestFake(ModelHostConformance):
    """In memory."""

    @pytest.fixture
    async def rig(self) -> Rig:
        return FakeRig()


async def test_a_model_serves_when_it_was_told_that_it_has_loaded():
    """Its port is free until then, and its memory is not."""
    host = FakeModelHost()
    before = (await host.observe()).nodes["spark1"].memory_available
    await host.launch(LAUNCH, 1)
    assert (host.serving, host.head.port_taken) == (None, False)
    assert host.head.memory_available < before
    host.finish_loading()
    assert (host.serving, host.head.port_taken) == (LAUNCH, True)
    await host.stop(2)
    assert (host.serving, host.head.memory_available) == (None, before)
    assert (host.launches, host.stops) == ([(LAUNCH, 1)], [2])


@pytest.mark.parametrize("fault", ["container_stays", "port_stays", "memory_stays"])
async def test_what_stays_is_seen(fault):
    """After a stop, that alone is as it was before."""
    host = FakeModelHost()
    empty = await host.observe()
    await host.launch(LAUNCH, 1)
    host.finish_loading()
    setattr(host.head, fault, True)
    await host.stop(1)
    assert (await host.observe()).nodes != empty.nodes


async def test_a_launcher_may_start_nothing():
    host = FakeModelHost()
    host.starts_nothing = True
    await host.launch(LAUNCH, 1)
    state = await host.observe()
    assert state.is_empty
    assert state.launch is not None
    assert state.launch.exit_code == 0


@pytest.mark.parametrize(("when", "begun"), [("failures", 0), ("late_failures", 1)])
async def test_a_call_may_fail_once(when, begun):
    """Before anything was done, or after."""
    host = FakeModelHost()
    getattr(host, when)["launch"] = [Unavailable("the connection broke")]
    with pytest.raises(Unavailable):
        await host.launch(LAUNCH, 1)
    assert len(host.launches) == begun
    await host.launch(LAUNCH, 1)
    assert len(host.launches) == 1


async def test_a_crash_of_one_rank_leaves_the_other():
    host = FakeModelHost(("spark1", "spark2"))
    await host.launch(Launch("one", "big", "lab/big", "big", nodes=2), 1)
    host.crash("NCCL error", only="spark2")
    assert host.nodes["spark1"].container is not None
    assert host.nodes["spark2"].container is None
    assert host.record is not None
    assert host.record.exit_code is None


async def test_a_crash_loop_counts_restarts():
    host = FakeModelHost()
    await host.launch(LAUNCH, 1)
    before = host.head.container
    host.restart_container()
    assert host.head.container.restarts == 1
    assert host.head.container.started_at != before.started_at
