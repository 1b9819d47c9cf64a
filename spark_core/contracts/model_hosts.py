"""Where models run: machines on which one model at a time can be started and stopped."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

__all__ = ["Container", "HostState", "Launch", "LaunchRecord", "ModelHost", "NodeState"]


@dataclass(frozen=True, slots=True)
class Launch:
    """A model to start.

    ``id`` is new with every launch: the machines keep it, so that later it is known what was
    launched, and by whom. ``model`` is a path where ``is_local``, else a repository's name.
    ``arguments`` are those of the server program, one each, and go there unchanged whatever is
    in them. ``nodes`` is on how many machines the model runs together.
    """

    id: str
    name: str
    model: str
    served_name: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs; ``launch`` is the id of the launch that made it, if it was ours."""

    id: str
    started_at: str
    restarts: int = 0
    launch: str | None = None


@dataclass(frozen=True, slots=True)
class NodeState:
    """What one machine says of itself. Sizes are in bytes.

    ``memory_available`` is the kernel's own estimate (``MemAvailable``): on unified memory it
    is the only number that counts. ``error`` says why nothing is known, all else being 0 then.
    """

    container: Container | None = None
    port_taken: bool = False
    memory_total: int = 0
    memory_available: int = 0
    disk_free: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """What the machines kept of a launch: the launcher's exit code, once it has ended."""

    id: str
    name: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class HostState:
    """Every machine by its name, the first being the one that clients are served from.

    ``launch`` is the newest one that was begun here.
    """

    nodes: Mapping[str, NodeState]
    launch: LaunchRecord | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every machine was seen, runs no model, and has its port free."""
        return all(
            node.error is None and node.container is None and not node.port_taken
            for node in self.nodes.values()
        )


@runtime_checkable
class ModelHost(Protocol):
    """Machines that run one model at a time, alone or together.

    What changes something is given a *fence*: the number of the lease under which it is done.
    The machines remember the highest one that they saw, and refuse what comes with a lower:
    a controller that was replaced can do nothing more.
    """

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def backend(self) -> str:
        """The name of the gateway's backend that the models are reached at."""
        ...

    async def observe(self, *, fence: int | None = None) -> HostState:
        """What is there now. A machine that cannot be reached has an ``error``.

        With a *fence*, each machine remembers it first: what somebody with a lower one began
        before is seen, and nothing that they begin later happens.

        :raises LeaseLost: a higher fence was seen.
        :raises NotConfigured: settings do not say where the machines are.
        """
        ...

    async def launch(self, launch: Launch, fence: int) -> None:
        """Begin to start a model; it goes on when this program ends. Idempotent by its id.

        :raises LeaseLost: a higher fence was seen.
        :raises InvalidRequest: it cannot be started in this way: more nodes than there are, or
            a path that the launcher would break apart.
        :raises Unavailable: a machine cannot be reached; whether it began is not known.
        :raises BackendError: it could not be begun, and why: another model runs, for instance.
        """
        ...

    async def stop(self, fence: int, *, foreign: bool = False) -> None:
        """Stop whatever model runs, on every machine; nothing happens where none does.

        What was not launched here is stopped only where *foreign* says so. It returns when that
        was asked for; :meth:`observe` tells whether it is gone.

        :raises LeaseLost: a higher fence was seen.
        :raises Conflict: what runs is foreign; it still does.
        :raises Unavailable: a machine cannot be reached; on the others it was stopped.
        """
        ...

    def log(self, launch: str) -> AsyncGenerator[str, None]:
        """The lines of a launch's log, from the beginning, until it has ended.

        A connection that breaks is made anew; no line comes twice.

        :raises NotFound: nothing was launched under that id.
        """
        ...
