"""A model host in memory, whose machines do what a test tells them.

A model loads until :meth:`FakeModelHost.finish_loading` is called, so no test waits for time::

    host = FakeModelHost(("spark1", "spark2"))
    await host.launch(launch, fence=1)
    host.say("Loading weights: 50 %")
    host.finish_loading()
    assert host.serving == launch
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

from ..contracts.model_hosts import Container, HostState, Launch, LaunchRecord, NodeState
from ..errors import BackendError, Conflict, InvalidRequest, LeaseLost, NotFound, Unavailable

__all__ = ["FakeLog", "FakeModelHost", "FakeNode"]

GIB = 2**30


@dataclass
class FakeNode:
    """A machine, as it is. All of it may be set at any time; sizes are in bytes.

    ``model_memory`` is what a model takes while its container is there. Where
    ``memory_stays``, ``port_stays`` or ``container_stays``, stopping does not free it.
    ``error`` is why it cannot be reached.
    """

    container: Container | None = None
    port_taken: bool = False
    memory_total: int = 119 * GIB
    memory_available: int = 110 * GIB
    disk_free: int = 900 * GIB
    model_memory: int = 60 * GIB
    error: str | None = None
    fence: int = 0
    memory_stays: bool = False
    port_stays: bool = False
    container_stays: bool = False

    def state(self) -> NodeState:
        """What it says of itself."""
        if self.error is not None:
            return NodeState(error=self.error)
        return NodeState(
            self.container,
            self.port_taken,
            self.memory_total,
            self.memory_available,
            self.disk_free,
        )

    def run(self, container: Container) -> None:
        """Start *container*."""
        if self.container is None:
            self.memory_available -= self.model_memory
        self.container = container

    def end(self) -> None:
        """The container ends, but for what stays."""
        if self.container is None or self.container_stays:
            return
        self.container = None
        self.port_taken = self.port_taken and self.port_stays
        if not self.memory_stays:
            self.memory_available += self.model_memory


@dataclass
class FakeLog:
    """The log of a launch."""

    lines: list[str] = field(default_factory=list)
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, *lines: str, ended: bool = False) -> None:
        """Append *lines*; readers are woken."""
        self.lines += lines
        self.ended = self.ended or ended
        self.changed.set()
        self.changed = asyncio.Event()


class FakeModelHost:
    """See :class:`~spark_core.contracts.model_hosts.ModelHost`.

    ``nodes`` are its machines, the first being the one that clients are served from. ``launches``
    and ``stops`` are what was asked for and not refused, with the fences; ``refused`` are the
    fences that were too low. ``failures`` are raised by the next calls of that name, one each,
    before anything is done; ``late_failures`` after it was done, as a connection that breaks
    does. Where ``starts_nothing``, a launcher exits with 0 and that is all. ``gates`` of a name
    hold its calls until they are set.
    """

    def __init__(
        self, nodes: Sequence[str] = ("spark1",), *, name: str = "fake", backend: str = "vllm"
    ) -> None:
        self.name = name
        self.backend = backend
        self.nodes = {node: FakeNode() for node in nodes}
        self.launches: list[tuple[Launch, int]] = []
        self.stops: list[int] = []
        self.refused: list[int] = []
        self.failures: dict[str, list[Exception]] = {}
        self.late_failures: dict[str, list[Exception]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.starts_nothing = False
        self.logs: dict[str, FakeLog] = {}
        self.record: LaunchRecord | None = None
        self.serving: Launch | None = None
        self._containers = 0

    # -------------------------------------------------------------------------- the contract

    async def observe(self, *, fence: int | None = None) -> HostState:
        """What is there now."""
        await self._begin("observe")
        if fence is not None:
            self._check(fence)
        state = HostState({n: node.state() for n, node in self.nodes.items()}, self.record)
        self._end("observe")
        return state

    async def launch(self, launch: Launch, fence: int) -> None:
        """A container on each node; it loads until it is told that it has."""
        await self._begin("launch")
        self._check(fence)
        if launch.id not in self.logs:
            self._start(launch)
            self.launches.append((launch, fence))
        self._end("launch")

    async def stop(self, fence: int, *, foreign: bool = False) -> None:
        """The containers go, but for what stays."""
        await self._begin("stop")
        self._check(fence)
        unreachable = [name for name, node in self.nodes.items() if node.error is not None]
        reached = [node for node in self.nodes.values() if node.error is None]
        if not foreign and any(n.container and n.container.launch is None for n in reached):
            raise Conflict("what runs was not launched here")
        self.stops.append(fence)
        for node in reached:
            node.end()
        self._ended(137)
        if unreachable:
            raise Unavailable(f"{', '.join(unreachable)} cannot be reached")
        self._end("stop")

    async def log(self, launch: str) -> AsyncGenerator[str, None]:
        """What was said, and what will be."""
        if launch not in self.logs:
            raise NotFound(f"nothing was launched as {launch}")
        log, read = self.logs[launch], 0
        while True:
            changed, ended = log.changed, log.ended
            for line in log.lines[read:]:
                read += 1
                yield line
            if ended:
                return
            await changed.wait()

    # --------------------------------------------------------------------- what a test tells

    @property
    def head(self) -> FakeNode:
        """The machine that clients are served from."""
        return next(iter(self.nodes.values()))

    def say(self, *lines: str) -> None:
        """Write *lines* to the log of the newest launch."""
        self._newest_log().add(*lines)

    def finish_loading(self) -> None:
        """The model that loads is ready: its port is taken."""
        assert self.record is not None, "nothing was launched"
        self.serving = next(n for n, _ in reversed(self.launches) if n.id == self.record.id)
        self.head.port_taken = True

    def crash(self, *lines: str, exit_code: int = 1, only: str | None = None) -> None:
        """The model ends by itself, on every machine or on that named *only*."""
        for name, node in self.nodes.items():
            if only in (None, name):
                node.end()
        if self.record is not None:
            self._newest_log().add(*lines)
        self._ended(exit_code)

    def restart_container(self) -> None:
        """Docker starts the model anew, as it does in a crash loop."""
        assert self.head.container is not None, "nothing runs"
        self.serving, self.head.port_taken = None, False
        self._containers += 1
        self.head.container = replace(
            self.head.container,
            started_at=self._started_at(),
            restarts=self.head.container.restarts + 1,
        )

    def run_foreign(self) -> None:
        """Somebody else starts a model by hand, on every machine."""
        for node in self.nodes.values():
            node.run(self._container(None))
        self.head.port_taken = True

    # ------------------------------------------------------------------------------- inside

    async def _begin(self, call: str) -> None:
        if gate := self.gates.get(call):
            await gate.wait()
        self._raise(self.failures, call)

    def _end(self, call: str) -> None:
        self._raise(self.late_failures, call)

    def _raise(self, failures: dict[str, list[Exception]], call: str) -> None:
        if waiting := failures.get(call):
            raise waiting.pop(0)

    def _check(self, fence: int) -> None:
        reached = [node for node in self.nodes.values() if node.error is None]
        highest = max((node.fence for node in reached), default=0)
        if fence < highest:
            self.refused.append(fence)
            raise LeaseLost(f"fence {fence} is lower than {highest}, which was seen before")
        for node in reached:
            node.fence = fence

    def _start(self, launch: Launch) -> None:
        if launch.nodes > len(self.nodes):
            raise InvalidRequest(f"it wants {launch.nodes} nodes of {len(self.nodes)}")
        chosen = list(self.nodes.items())[: launch.nodes]
        for name, node in chosen:
            if node.error is not None:
                raise Unavailable(f"{name} cannot be reached: {node.error}")
            if node.container is not None:
                raise BackendError(f"container {node.container.id} runs on {name} already")
        self.logs[launch.id] = FakeLog()
        self.record = LaunchRecord(launch.id, launch.name)
        if self.starts_nothing:
            return self._ended(0)
        for _, node in chosen:
            node.run(self._container(launch.id))

    def _container(self, launch: str | None) -> Container:
        self._containers += 1
        return Container(f"container-{self._containers}", self._started_at(), launch=launch)

    def _started_at(self) -> str:
        return f"2030-01-01T00:{self._containers // 60:02}:{self._containers % 60:02}Z"

    def _ended(self, exit_code: int) -> None:
        """The newest launcher has nothing left to wait for."""
        if self.head.container is not None and self.head.error is None:
            return
        self.serving = None
        if self.record is not None and self.record.exit_code is None:
            self.record = replace(self.record, exit_code=exit_code)
            self._newest_log().add(ended=True)

    def _newest_log(self) -> FakeLog:
        assert self.record is not None, "nothing was launched"
        return self.logs[self.record.id]
