"""Container services, as the machine that manages them shows and changes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spark_core.errors import Unavailable

from .models import Broken, Mark
from .nodes import Nodes, patiently

__all__ = ["Service", "Services", "Task"]

SECOND: Final = 10**9

#: States in which a task does nothing any more.
ENDED: Final = ("complete", "shutdown", "failed", "rejected", "orphaned", "remove")


@dataclass(frozen=True)
class Task:
    """A task of a service, and the container that it is.

    ``forced`` is how often its service had been forced to begin anew when it was made.
    """

    id: str
    forced: int
    state: str
    wanted: bool
    error: str
    container: str
    node: str

    @property
    def ended(self) -> bool:
        """Whether it does nothing any more."""
        return self.state in ENDED


@dataclass(frozen=True)
class Service:
    """A service: what it is to be, and its tasks, the newest first.

    ``replicas`` is None where each node has a task. One that ``returns`` is taken back by swarm
    itself when an update of it fails.
    """

    name: str
    forced: int
    start_period_s: float | None
    environment: Mapping[str, str]
    replicas: int | None
    updating: bool
    returns: bool
    tasks: Sequence[Task] = ()

    @property
    def mark(self) -> Mark:
        """What tells whether it was changed since."""
        ids = [task.id for task in self.tasks]
        return Mark(forced=self.forced, tasks=ids, start_period_s=self.start_period_s)

    @property
    def present(self) -> list[Task]:
        """The tasks that run, or are to."""
        return [task for task in self.tasks if task.wanted and not task.ended]


class Services:
    """The services of one manager."""

    def __init__(self, nodes: Nodes, manager: str) -> None:
        self._nodes = nodes
        self._manager = manager

    async def look(self, name: str) -> Service:
        """The service *name* with its tasks.

        Docker that does not answer is asked again for a while: what began anew goes on meanwhile.

        :raises Unavailable: it does not answer, or there is no such service any more.
        """

        async def once() -> Service:
            try:
                return (await self.look_at([name]))[0]
            except Broken as broken:
                raise Unavailable(broken.failure.message) from broken

        return await patiently(once, self._nodes.reach_s)

    async def look_at(self, names: Sequence[str]) -> list[Service]:
        """Services by their names; the first one with its tasks.

        :raises Broken: one is not there, or docker does not answer.
        """
        told = (await self._nodes.do(self._manager, "services", *names)).stdout
        try:
            services, end = json.JSONDecoder().raw_decode(told)
            tasks = json.loads(told[end:])
            found = [_service(name, each) for name, each in zip(names, services, strict=True)]
            first = _service(names[0], services[0], tasks)
        except (ValueError, KeyError, TypeError) as error:
            what = f"{self._manager}: docker answers in a way that is not understood"
            raise Broken("docker", f"{what} ({type(error).__name__})") from error
        return [first, *found[1:]]

    async def update(self, fence: str, name: str, forced: int, period_s: float | None) -> None:
        """Let every task of *name* begin anew: the old one ends before the new one begins.

        Nothing is done where it was *forced* more often already. It may be told so twice.
        """
        words = arguments(name, period_s)
        await self._nodes.do(self._manager, "update", fence, name, str(forced), *words)


def arguments(name: str, period_s: float | None) -> list[str]:
    """What ``docker service update`` is given; without a period the service keeps its own."""
    period: list[str] = []
    if period_s is not None:
        whole = f"{period_s:.0f}s" if period_s == round(period_s) else f"{period_s * 1000:.0f}ms"
        period = ["--health-start-period", whole]
    return ["--detach", "--update-order", "stop-first", *period, "--force", name]


def _service(name: str, told: Mapping[str, Any], tasks: Sequence[Any] = ()) -> Service:
    spec = told["Spec"]
    template = spec["TaskTemplate"]
    inside = template["ContainerSpec"]
    replicated = spec["Mode"].get("Replicated")
    period = (inside.get("Healthcheck") or {}).get("StartPeriod")
    variables = (pair.partition("=") for pair in inside.get("Env") or ())
    return Service(
        name=name,
        forced=int(template.get("ForceUpdate") or 0),
        start_period_s=period / SECOND if period else None,
        environment={key: value for key, _, value in variables},
        replicas=None if replicated is None else int(replicated.get("Replicas", 1)),
        updating=(told.get("UpdateStatus") or {}).get("State") in ("updating", "rollback_started"),
        returns=(spec.get("UpdateConfig") or {}).get("FailureAction") == "rollback",
        tasks=[_task(each) for each in sorted(tasks, key=lambda t: t["CreatedAt"], reverse=True)],
    )


def _task(told: Mapping[str, Any]) -> Task:
    status = told["Status"]
    return Task(
        id=told["ID"],
        forced=int(told["Spec"].get("ForceUpdate") or 0),
        state=status["State"],
        wanted=told.get("DesiredState") in ("running", "ready"),
        error=status.get("Err", ""),
        container=(status.get("ContainerStatus") or {}).get("ContainerID", ""),
        node=told.get("NodeID", ""),
    )
