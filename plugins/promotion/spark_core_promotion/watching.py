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
from operator import itemgetter
from typing import Final

from .models import Broken, Mark
from .nodes import Nodes, patiently
from .services import Service, Services, Task
from .settings import Logs, PromotionSettings
from .telling import told

__all__ = ["Limits", "Watch"]

#: Prints the log of a container after a moment; without one, from its start.
SCRIPT: Final = """
since=$2
[ -n "$since" ] || since=$(docker inspect --type container -f '{{.State.StartedAt}}' "$1") || exit
exec docker logs --timestamps --since "$since" "$1" 2>&1
"""

#: What docker writes before each line. It also writes what is none.
MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\S* ")

#: More than so much is not all that there is.
MUCH: Final = 2**19

Tell = Callable[[Sequence[str]], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """How long the new tasks may take, and how long they may say nothing new, in seconds."""

    whole_s: float
    stall_s: float


@dataclass
class _Log:
    """What one container said up to the moment ``last``, and why it cannot be read, if so."""

    last: str = ""
    bound: bool = False
    news: list[str] = field(default_factory=list)
    unread: str = ""
    _at_last: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)

    def read(self, text: str, logs: Logs) -> None:
        """Take in what docker shows; lines that were seen already, and half lines, are left."""
        lines = (line for line in text.split("\n")[:-1] if MOMENT.match(line))
        for moment, _, line in sorted((each.partition(" ") for each in lines), key=itemgetter(0)):
            if moment < self.last or (moment == self.last and line in self._at_last):
                continue
            if moment > self.last:
                self.last, self._at_last = moment, set()
            self._at_last.add(line)
            self._take(line.rstrip("\r"), logs)

    def _take(self, line: str, logs: Logs) -> None:
        bound = _first(logs.bound, line)
        said = bound or _first(logs.progress, line)
        self.bound = self.bound or bool(bound)
        if said and said not in self._known:
            self._known.add(said)
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

    async def serves(self, name: str, mark: Mark, logs: Logs | None, limits: Limits) -> str:
        """Wait until *name*, begun anew after *mark*, serves; gives a container.

        Without *logs* it is enough that they run, wherever that is.

        :raises Broken: they do not; one that is only slow ``stops``.
        :raises Unavailable: nobody can tell.
        """
        clock = asyncio.get_running_loop().time
        began = moved = clock()
        read: dict[str, _Log] = {}
        while True:
            service = await self._services.look(name)
            tasks = new_tasks(service, mark)
            known = sum(len(log.news) for log in read.values())
            serving = [await self._serves(task, logs, read) for task in tasks]
            if all(serving) and len(tasks) == service.replicas == len(service.present):
                return tasks[0].container if tasks else ""
            if sum(len(log.news) for log in read.values()) > known:
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
        before = ""
        while await self._read(task, log, logs) and log.last != before:
            before = log.last
        if log.news[known:]:
            await self._tell(log.news[known:])
        return log.bound and task.state == "running"

    async def _read(self, task: Task, log: _Log, logs: Logs) -> bool:
        """Whether there is more."""
        machine = self._machines[task.node]
        words = ("sh", "-c", SCRIPT, "spark-core", task.container, log.last)

        async def once() -> str:
            done = await self._nodes.places.run(machine, words)
            said = (done.stdout + done.stderr).strip()
            log.unread = told(said.rpartition("\n")[2])[:200] if done.exit_code else ""
            return "" if done.exit_code else done.stdout

        text = await patiently(once, self._settings.reach_s)
        log.read(text, logs)
        return len(text) > MUCH


def _first(patterns: Sequence[str], line: str) -> str:
    """*line* from where the first of *patterns* is found: before that there may be a clock."""
    found = (re.search(pattern, line) for pattern in patterns)
    return next((line[match.start() :] or " " for match in found if match), "")


def new_tasks(service: Service, mark: Mark) -> list[Task]:
    """The tasks of *service* that were begun since *mark*.

    :raises Broken: one of them has ended.
    """
    new = [t for t in service.tasks if t.forced > mark.forced and t.id not in mark.tasks]
    for task in new:
        if task.ended:  # one that is being ended says why when it has
            reason = f" ({task.error})" if task.error else ""
            hint = ""
            if "unhealthy" in task.error:
                hint = "; if it migrates its data at first, it needs --migrate"
            raise Broken("crashed", f"{service.name}: a new task {task.state}{reason}{hint}")
    return new


def _said(read: Mapping[str, _Log]) -> str:
    said = [f"; last: {told(line)[:200]}" for log in read.values() for line in log.news[-1:]]
    unread = [f"; its log cannot be read: {log.unread}" for log in read.values() if log.unread]
    return "".join([*said[-1:], *unread[-1:]])
