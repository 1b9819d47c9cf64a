"""What every model host must do, as tests; and a model host for tests that does it.

An implementer subclasses the suite and says how to make the host, and how to meddle with its
machines behind its back::

    class TestMyHost(ModelHostConformance):
        @pytest.fixture
        async def rig(self):
            async with open_my_host(...) as host:
                yield MyRig(host)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from itertools import count
from typing import Protocol

import pytest

from ..contracts.model_hosts import Container, HostState, Launch, ModelHost, NodeState
from ..errors import BackendError, Conflict, InvalidRequest, LeaseLost, NotFound
from .fake_model_host import FakeModelHost, FakeNode
from .suites import AsyncSuite

__all__ = ["FakeModelHost", "FakeNode", "ModelHostConformance", "Rig"]

#: The longest that anything asked for may take to be seen, in seconds.
PATIENCE = 30.0

HOSTILE = (
    "two words",
    "",
    "'single' \"double\" `back`",
    "$(touch pwned) ${HOME} $1 \\ \\\\",
    "a;b&&c|d>e<f#g*?[h]{i,j}~!",
    "two\nlines\ttab",
    "--flag=ärger 轴承",
    '{"rope_type": "yarn", "factor": 4.0}',
)

_numbers = count(1)


class Rig(Protocol):
    """A model host with two machines, empty at first, and what a test does to them.

    Its models load quickly.
    """

    host: ModelHost

    async def run_foreign(self) -> None:
        """Start a model on the first machine as a person would, past the host."""
        ...

    async def cut(self, node: str) -> None:
        """Let nobody reach the machine *node*."""
        ...

    async def crash(self, *lines: str) -> None:
        """Let the model write *lines* to its log, and end with exit code 1."""
        ...

    async def received(self) -> tuple[list[str], dict[str, str]]:
        """The arguments and the environment that the server's program got."""
        ...


def a_launch(**fields: object) -> Launch:
    """A launch with an id of its own."""
    number = next(_numbers)
    given = {"name": "tiny", "model": "lab/tiny", "served_name": "tiny", **fields}
    return Launch(id=f"launch-{number}", **given)  # type: ignore[arg-type]


class ModelHostConformance(AsyncSuite):
    """The contract of :class:`~spark_core.contracts.model_hosts.ModelHost`, rule by rule."""

    @pytest.fixture
    def rig(self) -> Rig:
        """Override this one: the host under test, and its machines."""
        raise NotImplementedError("override the fixture `rig`")

    async def test_has_names(self, rig: Rig) -> None:
        """It has the contract's methods, a name, and the name of a backend."""
        assert isinstance(rig.host, ModelHost)
        assert rig.host.name
        assert rig.host.backend

    async def test_is_empty_at_first(self, rig: Rig) -> None:
        """Both machines are seen, with their sizes; nothing was ever launched."""
        state = await rig.host.observe()
        assert len(state.nodes) == 2
        assert state.is_empty
        assert state.launch is None
        for node in state.nodes.values():
            assert 0 < node.memory_available <= node.memory_total
            assert node.disk_free > 0

    async def test_a_launch_is_seen(self, rig: Rig) -> None:
        """Its container says whose it is; the other machine stays empty."""
        launch = a_launch()
        await rig.host.launch(launch, 1)
        state = await until(rig, has_container)
        head, other = state.nodes.values()
        assert head.container is not None
        assert head.container.launch == launch.id
        assert head.container.started_at
        assert other.container is None
        assert state.launch is not None
        assert (state.launch.id, state.launch.name) == (launch.id, "tiny")
        assert state.launch.exit_code is None

    async def test_a_launch_on_two_nodes_is_seen_on_both(self, rig: Rig) -> None:
        """Each has a container of that launch."""
        launch = a_launch(nodes=2)
        await rig.host.launch(launch, 1)
        state = await until(rig, lambda state: all(n.container for n in state.nodes.values()))
        assert [container_of(node).launch for node in state.nodes.values()] == [launch.id] * 2

    async def test_no_more_nodes_than_there_are(self, rig: Rig) -> None:
        """Three nodes of two are refused."""
        with pytest.raises(InvalidRequest):
            await rig.host.launch(a_launch(nodes=3), 1)
        assert (await rig.host.observe()).is_empty

    async def test_a_launch_is_idempotent(self, rig: Rig) -> None:
        """The same id again begins nothing, also when it comes at the same moment."""
        launch = a_launch()
        await asyncio.gather(*(rig.host.launch(launch, 1) for _ in range(3)))
        before = await until(rig, has_container)
        await rig.host.launch(launch, 1)
        after = await rig.host.observe()
        assert [n.container for n in after.nodes.values()] == [
            n.container for n in before.nodes.values()
        ]

    async def test_nothing_is_launched_over_another(self, rig: Rig) -> None:
        """What runs goes on."""
        await rig.host.launch(a_launch(), 1)
        before = await until(rig, has_container)
        with pytest.raises(BackendError):
            await rig.host.launch(a_launch(), 1)
        after = await rig.host.observe()
        assert head_of(after).container == head_of(before).container
        assert after.launch == before.launch

    async def test_stopping_leaves_nothing(self, rig: Rig) -> None:
        """Container and port are gone on every machine; the launch is remembered, and ended."""
        launch = a_launch(nodes=2)
        await rig.host.launch(launch, 1)
        await until(rig, lambda state: all(n.container for n in state.nodes.values()))
        await rig.host.stop(1)
        state = await until(rig, lambda state: state.is_empty and has_ended(state))
        assert state.launch is not None
        assert state.launch.id == launch.id

    async def test_stopping_nothing_is_nothing(self, rig: Rig) -> None:
        """It may be done again and again."""
        await rig.host.stop(1)
        await rig.host.stop(1)
        assert (await rig.host.observe()).is_empty

    async def test_one_after_the_other(self, rig: Rig) -> None:
        """What was stopped makes room; its id stays used."""
        first, second = a_launch(), a_launch()
        await rig.host.launch(first, 1)
        await until(rig, has_container)
        await rig.host.stop(1)
        await until(rig, lambda state: state.is_empty)
        await rig.host.launch(second, 1)
        await until(rig, has_container)
        await rig.host.launch(first, 1)
        state = await rig.host.observe()
        assert container_of(head_of(state)).launch == second.id
        assert state.launch is not None
        assert state.launch.id == second.id

    async def test_a_lower_fence_can_do_nothing(self, rig: Rig) -> None:
        """Neither launch nor stop, nor be remembered; the same fence and a higher one can."""
        await rig.host.launch(a_launch(), 7)
        before = await until(rig, has_container)
        with pytest.raises(LeaseLost):
            await rig.host.stop(6)
        with pytest.raises(LeaseLost):
            await rig.host.launch(a_launch(), 6)
        with pytest.raises(LeaseLost):
            await rig.host.observe(fence=6)
        assert head_of(await rig.host.observe()).container == head_of(before).container
        await rig.host.stop(7)
        await until(rig, lambda state: state.is_empty)
        await rig.host.launch(a_launch(), 8)

    async def test_observing_with_a_fence_shuts_others_out(self, rig: Rig) -> None:
        """What is begun later with a lower one does not happen."""
        await rig.host.observe(fence=5)
        with pytest.raises(LeaseLost):
            await rig.host.launch(a_launch(), 4)
        assert (await rig.host.observe()).is_empty
        await rig.host.observe(fence=5)

    async def test_what_is_foreign_is_left_alone(self, rig: Rig) -> None:
        """Nobody's launch is shown for it, and it is stopped only when that was said."""
        await rig.run_foreign()
        before = await until(rig, has_container)
        assert container_of(head_of(before)).launch is None
        with pytest.raises(Conflict) as caught:
            await rig.host.stop(1)
        assert not isinstance(caught.value, LeaseLost)
        with pytest.raises(BackendError):
            await rig.host.launch(a_launch(), 1)
        assert head_of(await rig.host.observe()).container == head_of(before).container
        await rig.host.stop(1, foreign=True)
        await until(rig, lambda state: state.is_empty)

    async def test_a_machine_out_of_reach_has_an_error(self, rig: Rig) -> None:
        """The other one is seen all the same."""
        head, other = (await rig.host.observe()).nodes
        await rig.cut(other)
        state = await rig.host.observe()
        assert state.nodes[head].error is None
        assert state.nodes[other].error
        assert not state.is_empty

    async def test_the_log_is_read_from_the_beginning_to_the_end(self, rig: Rig) -> None:
        """By whoever reads it, during the launch and after; each line comes once."""
        launch = a_launch()
        await rig.host.launch(launch, 1)
        await until(rig, has_container)
        reading = asyncio.create_task(read(rig.host, launch.id))
        lines = [f"line {n}" for n in range(500)] + ["torch.OutOfMemoryError: CUDA out of memory"]
        await rig.crash(*lines)
        during = await asyncio.wait_for(reading, PATIENCE)
        after = await asyncio.wait_for(read(rig.host, launch.id), PATIENCE)
        assert during == after
        assert [line for line in during if line in lines] == lines

    async def test_a_log_of_nothing(self, rig: Rig) -> None:
        """There is no log of what was not launched."""
        with pytest.raises(NotFound):
            await read(rig.host, "launch-unknown")

    async def test_a_crash_is_seen(self, rig: Rig) -> None:
        """The container is gone, and the launch has its exit code."""
        await rig.host.launch(a_launch(), 1)
        await until(rig, has_container)
        await rig.crash("RuntimeError: Engine core initialization failed")
        state = await until(rig, lambda state: state.is_empty and has_ended(state))
        assert state.launch is not None
        assert state.launch.exit_code == 1

    async def test_arguments_arrive_unchanged(self, rig: Rig) -> None:
        """Whatever is in them, each is one argument of the server's program."""
        arguments = tuple(word for text in HOSTILE for word in ("--hostile", text))
        environment = {"LAB_HOSTILE": HOSTILE[3], "LAB_PLAIN": "1"}
        await rig.host.launch(a_launch(arguments=arguments, environment=environment), 1)
        await until(rig, has_container)
        words, variables = await rig.received()
        start = words.index("--hostile")
        assert tuple(words[start : start + len(arguments)]) == arguments
        assert {name: variables.get(name) for name in environment} == environment


async def until(rig: Rig, holds: Callable[[HostState], object]) -> HostState:
    """The state once *holds* says that it is there."""

    async with asyncio.timeout(PATIENCE):
        while not holds(state := await rig.host.observe()):  # noqa: ASYNC110 - all it can do
            await asyncio.sleep(0.02)
    return state


async def read(host: ModelHost, launch: str) -> list[str]:
    """The whole log of *launch*, when it has ended."""
    async with aclosing(host.log(launch)) as lines:
        return [line async for line in lines]


def head_of(state: HostState) -> NodeState:
    """The machine that clients are served from."""
    return next(iter(state.nodes.values()))


def has_container(state: HostState) -> bool:
    """Whether a model's container runs on the first machine."""
    return head_of(state).container is not None


def has_ended(state: HostState) -> bool:
    """Whether the newest launch is over."""
    return state.launch is not None and state.launch.exit_code is not None


def container_of(node: NodeState) -> Container:
    """The container that runs there."""
    assert node.container is not None
    return node.container
