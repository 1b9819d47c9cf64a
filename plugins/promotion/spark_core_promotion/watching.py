"""Watches a service whose tasks begin anew, until the new ones serve.

What counts is the log of the new container itself, from its own start: nothing that an earlier
one said can be taken for it. One that is slow goes on telling something new; one that hangs does
not; one that was killed is seen to have ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .models import Broken
from .nodes import Nodes, patiently
from .services import Service, Services, Task
from .settings import Logs, PromotionSettings

__all__ = ["Limits", "Watch"]

#: Prints the log of a container after a moment; without one, from its start.
SCRIPT: Final = """
since=$2
[ -n "$since" ] || since=$(docker inspect --type container -f '{{.State.StartedAt}}' "$1") || exit
exec docker logs --timestamps --since "$since" "$1"
"""

Tell = Callable[[Sequence[str]], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """How long the new tasks may take, and how long they may say nothing new, in seconds."""

    whole_s: float
    stall_s: float


@dataclass
class _Log:
    """What one container said up to the moment ``last``."""

    last: str = ""
    said: str = ""
    bound: bool = False
    news: list[str] = field(default_factory=list)

    def read(self, text: str, logs: Logs) -> None:
        """Take in what docker shows; lines that were seen already, and half lines, are left."""
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        for moment, _, line in sorted(line.rstrip("\r\n").partition(" ") for line in lines):
            if moment <= self.last:
                continue
            self.last = moment
            is_bound = any(re.search(pattern, line) for pattern in logs.bound)
            is_news = is_bound or any(re.search(pattern, line) for pattern in logs.progress)
            self.bound = self.bound or is_bound
            if is_news and line != self.said:
                self.said = line
                self.news.append(line)


class Watch:
    """Watches the services of one promotion. *machines* names those that the binary lies on."""

    def __init__(
        self,
        nodes: Nodes,
        services: Services,
        settings: PromotionSettings,
        machines: Mapping[str, str],
        tell: Tell,
    ) -> None:
        self._nodes = nodes
        self._services = services
        self._settings = settings
        self._machines = machines
        self._tell = tell

    async def serves(self, name: str, forced: int, logs: Logs | None, limits: Limits) -> str:
        """Wait until *name*, begun anew after it was *forced* so often, serves; gives a container.

        Without *logs* it is enough that they run, wherever that is.

        :raises Broken: they do not; one that is only slow ``stops``.
        """
        clock = asyncio.get_running_loop().time
        began = moved = clock()
        read: dict[str, _Log] = {}
        while True:
            service = await self._services.look(name)
            tasks = new_tasks(service, forced)
            told = sum(len(log.news) for log in read.values())
            serving = [await self._serves(task, logs, read) for task in tasks]
            if all(serving) and len(tasks) == service.replicas == len(service.present):
                return tasks[0].container
            if sum(len(log.news) for log in read.values()) > told:
                moved = clock()
            if clock() - moved > limits.stall_s:
                raise Broken("hung", f"{name}: nothing new for {limits.stall_s:g} s{_said(read)}")
            if clock() - began > limits.whole_s:
                raise Broken(
                    "slow",
                    f"{name}: not bound after {limits.whole_s:g} s, but it goes on{_said(read)}",
                    stops=True,
                )
            await asyncio.sleep(self._settings.poll_s)

    async def _serves(self, task: Task, logs: Logs | None, read: dict[str, _Log]) -> bool:
        if logs is None:
            return task.state == "running"
        if not task.container:
            return False
        if task.node not in self._machines:
            raise Broken("wrong_node", "the task was begun on a node without the new binary")
        log = read.setdefault(task.container, _Log(bound=not logs.bound))
        known = len(log.news)
        await self._read(task, log, logs)
        if log.news[known:]:
            await self._tell(log.news[known:])
        return log.bound and task.state == "running"

    async def _read(self, task: Task, log: _Log, logs: Logs) -> None:
        machine = self._machines[task.node]
        words = ("sh", "-c", SCRIPT, "spark-core", task.container, log.last)

        async def once() -> str:
            done = await self._nodes.places.run(machine, words)
            return done.stdout + done.stderr if done.exit_code == 0 else ""

        log.read(await patiently(once, self._settings.reach_s), logs)


def new_tasks(service: Service, forced: int) -> list[Task]:
    """The tasks that were begun since *service* had been *forced* so often to begin anew.

    :raises Broken: one of them has ended.
    """
    new = [task for task in service.tasks if task.forced > forced]
    for task in new:
        if task.ended:  # one that is being ended says why when it has
            reason = f" ({task.error})" if task.error else ""
            hint = ""
            if "unhealthy" in task.error:
                hint = "; if it migrates its data at first, it needs --migrate"
            raise Broken("crashed", f"{service.name}: a new task {task.state}{reason}{hint}")
    return new


def _said(read: Mapping[str, _Log]) -> str:
    said = [log.said for log in read.values() if log.said]
    return f"; last: {said[-1][:200]}" if said else ""
