"""vLLM on machines that are reached over SSH: launched, observed, stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from importlib.resources import files
from typing import Any, Final

from spark_core.contracts.machines import Completed, Machines
from spark_core.contracts.model_hosts import (
    Container,
    HostState,
    Launch,
    LaunchRecord,
    NodeState,
)
from spark_core.errors import (
    BackendError,
    Conflict,
    InvalidRequest,
    LeaseLost,
    NotConfigured,
    NotFound,
    SparkError,
    TimedOut,
    Unavailable,
)

from .launching import checked, environment_file, script
from .settings import VllmSettings

__all__ = ["VllmHost", "open_model_host"]

#: How long a machine may take to answer, in seconds: to look, and to begin or end something.
LOOK_S: Final = 25.0
CHANGE_S: Final = 120.0

#: A log is read for so long in one go, and given up when nothing was reached for so long.
FOLLOW_S: Final = 3600.0
PATIENCE_S: Final = 600.0
PAUSE_S: Final = 1.0

#: What ``machine.sh`` exits with; it says why on standard error.
LEASE_LOST, FOREIGN, BUSY, UNKNOWN, CANNOT = 81, 82, 83, 84, 85

KIB: Final = 1024


@asynccontextmanager
async def open_model_host(machines: Machines, settings: VllmSettings) -> AsyncIterator[VllmHost]:
    """The one model host; nothing is reached yet.

    :raises NotConfigured: settings name no machine, or one that there is not.
    """
    yield VllmHost(machines, settings)


class VllmHost:
    """See :class:`~spark_core.contracts.model_hosts.ModelHost`.

    What must hold whoever asks is decided on the machines, by ``machine.sh``.
    """

    name = "vllm"

    def __init__(self, machines: Machines, settings: VllmSettings) -> None:
        self.backend = settings.backend()
        self._machines, self._settings = machines, settings
        self._nodes = _nodes(machines, settings)
        self._script = files(__package__).joinpath("machine.sh").read_text("utf-8")

    # -------------------------------------------------------------------------- the contract

    async def observe(self, *, fence: int | None = None) -> HostState:
        """One command on each machine, at the same time."""
        asked = ["observe", self._settings.container, str(self._settings.port)]
        asked += [] if fence is None else [str(fence)]
        seen = await asyncio.gather(*(self._look(node, asked) for node in self._nodes))
        nodes = {n: state for n, (state, _) in zip(self._nodes, seen, strict=True)}
        return HostState(nodes, seen[0][1])

    async def launch(self, launch: Launch, fence: int) -> None:
        """Prepare every machine, then let the first one begin."""
        if launch.nodes > len(self._nodes):
            raise InvalidRequest(f"{launch.name}: {launch.nodes} nodes of {len(self._nodes)}")
        environment = environment_file(checked(launch, self._settings))
        head, *others = self._nodes[: launch.nodes]
        asked = ["prepare", str(fence), launch.id, self._settings.container]
        # The launcher names one file for all machines: where the first one has it.
        file = (await self._change(head, asked, environment)).strip()
        if file == "begun":
            return
        command = script(launch, self._settings, file)
        await _all(self._change(node, [*asked, file], environment) for node in others)
        asked = ["launch", *asked[1:], str(len(command)), launch.name]
        await self._change(head, asked, command)

    async def stop(self, fence: int, *, foreign: bool = False) -> None:
        """Every machine ends what it runs, in the background."""
        how = "foreign" if foreign else "ours"
        grace = str(self._settings.launch.grace_s)
        asked = ["stop", str(fence), self._settings.container, grace, how]
        await _all(self._change(node, asked) for node in self._nodes)

    async def log(self, launch: str) -> AsyncGenerator[str, None]:
        """Lines are counted, so that reading goes on where it was broken off."""
        read, reached = 0, time.monotonic()
        while True:
            try:
                await self._change(self._nodes[0], ["known", launch])
                async with aclosing(self._lines(launch, read + 1)) as lines:
                    async for line in lines:
                        read, reached = read + 1, time.monotonic()
                        yield line
                return
            except TimedOut:
                reached = time.monotonic()
            except Unavailable:
                if time.monotonic() - reached > PATIENCE_S:
                    raise
                await asyncio.sleep(PAUSE_S)

    # ------------------------------------------------------------------------------- asking

    def _command(self, asked: Sequence[str]) -> Sequence[str]:
        return ["sh", "-c", self._script, "spark-core", self._settings.launch.folder, *asked]

    async def _look(self, node: str, asked: Sequence[str]) -> tuple[NodeState, LaunchRecord | None]:
        try:
            done = await self._machines.run(node, self._command(asked), timeout_s=LOOK_S)
            return _state(_refused(node, done).stdout)
        except LeaseLost:
            raise
        except (Unavailable, BackendError, NotConfigured) as error:
            return NodeState(error=str(error)), None

    async def _change(self, node: str, asked: Sequence[str], stdin: bytes = b"") -> str:
        command = self._command(asked)
        done = await self._machines.run(node, command, stdin=stdin, timeout_s=CHANGE_S)
        return _refused(node, done).stdout

    async def _lines(self, launch: str, first: int) -> AsyncGenerator[str, None]:
        """Whole lines: one that a broken connection cut off lacks its mark, and comes again."""
        command = self._command(["log", launch, str(first)])
        following = self._machines.follow(self._nodes[0], command, timeout_s=FOLLOW_S)
        async with aclosing(following) as lines:
            async for line in lines:
                if line.endswith("|"):
                    yield line[:-1]


def _nodes(machines: Machines, settings: VllmSettings) -> Sequence[str]:
    known = [machine.name for machine in machines.all]
    nodes = settings.launch.machines or tuple(known)
    if missing := [name for name in nodes if name not in known]:
        raise NotConfigured(
            f"[plugins.vllm] launch.machines: there is no machine {', '.join(missing)}",
            hint=f"there are: {', '.join(known) or 'none'}",
        )
    if not nodes:
        hint = "set SPARK1_HOST and SPARK1_USER, or [[plugins.ssh.machines]]"
        raise NotConfigured("no machine is set on which models could run", hint=hint)
    return nodes


async def _all(calls: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Let every call end, also where one fails; then the failure that matters most is raised."""
    failures = [
        result
        for result in await asyncio.gather(*calls, return_exceptions=True)
        if isinstance(result, BaseException)
    ]
    for kind in (LeaseLost, Conflict, SparkError, BaseException):
        for failure in failures:
            if isinstance(failure, kind):
                raise failure


def _refused(node: str, done: Completed) -> Completed:
    """What a machine answered, unless it refused."""
    said = done.stderr.strip().rpartition("\n")[2][:500]
    if done.exit_code == 0:
        return done
    if done.exit_code == LEASE_LOST:
        raise LeaseLost(f"{node}: a higher fence was seen: {said}")
    if done.exit_code == FOREIGN:
        raise Conflict(f"{node}: {said}")
    if done.exit_code == UNKNOWN:
        raise NotFound(f"{node}: {said}")
    raise BackendError(f"{node}: {said or f'exit code {done.exit_code}'}")


def _state(text: str) -> tuple[NodeState, LaunchRecord | None]:
    """What ``observe`` printed: a word that says what it is, and more words."""
    said = {first: rest for first, _, rest in (line.partition(" ") for line in text.splitlines())}
    try:
        state = NodeState(
            container=_container(said["container"].split()) if "container" in said else None,
            port_taken="port" in said,
            memory_total=int(said["MemTotal:"]) * KIB,
            memory_available=int(said["MemAvailable:"]) * KIB,
            disk_free=int(said["disk"]) * KIB,
        )
        return state, _record(said)
    except (KeyError, ValueError, IndexError) as error:
        raise BackendError("it says of itself what nobody understands") from error


def _container(words: Sequence[str]) -> Container:
    id, started_at, restarts, *launch = words
    return Container(id, started_at, int(restarts), launch[0] if launch else None)


def _record(said: Mapping[str, str]) -> LaunchRecord | None:
    if "launch" not in said:
        return None
    id, code, name = said["launch"].split(" ", 2)
    return LaunchRecord(id, name, None if code == "running" else int(code))
