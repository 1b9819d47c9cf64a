"""What is done to services, step by step, and to the end even where nobody listens any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final, Literal

from pydantic import BaseModel, Field

from spark_core.errors import BackendError, SparkError, TimedOut
from spark_core.state import Leases

from .catalog import Service
from .observing import Observation, Observer
from .settings import ServicesSettings
from .sightings import Sightings

__all__ = ["Step", "Steps", "Work", "Workshop", "open_workshop"]

#: Seconds between two looks at a service that is to become well.
PAUSE: Final = 0.5

#: Seconds that a machine may take to begin a command.
REACH_S: Final = 10.0

#: Seconds that a lease lives whose holder is gone.
LEASE_S: Final = 30.0


class Step(BaseModel, defer_build=True):
    """Something that happened on the way: a phase began, wrote a line, or ended."""

    phase: str
    state: Literal["running", "done", "failed", "unchanged"]
    line: str = ""
    elapsed_s: float = Field(default=0.0, description="Since the beginning of the whole.")


Steps = AsyncGenerator[Step, None]


class Work:
    """One action on one service, while it goes on; it must end within ``cap_s`` seconds."""

    def __init__(self, service: Service, observer: Observer, settings: ServicesSettings) -> None:
        self.service = service
        self.observer = observer
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def step(
        self, phase: str, state: Literal["running", "done", "failed", "unchanged"], line: str = ""
    ) -> Step:
        """A step that is taken now."""
        return Step(phase=phase, state=state, line=line, elapsed_s=round(self.elapsed, 3))

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self._loop.time() - self._began

    @property
    def left(self) -> float:
        """The seconds that are left for it.

        :raises TimedOut: there are none.
        """
        left = self._settings.cap_s - self.elapsed
        if left <= 0:
            raise self._too_long()
        return left

    def _too_long(self) -> TimedOut:
        minutes = self._settings.cap_s / 60
        return TimedOut(f"{self.service.name}: it took longer than {minutes:g} minutes")

    async def command(self, phase: str, *command: str, within_s: float | None = None) -> Steps:
        """Run *command* where the service is, for *within_s* seconds; its lines are steps.

        :raises SparkError: it failed.
        """
        machines, machine = self.observer.where(self.service)
        yield self.step(phase, "running")
        await self._reach()
        left = self.left
        limit = min(left, within_s or left)
        try:
            async with aclosing(machines.follow(machine, command, timeout_s=limit)) as lines:
                async for line in lines:
                    yield self.step(phase, "running", line)
        except TimedOut:
            if limit == left:
                raise self._too_long() from None
            raise
        yield self.step(phase, "done")

    async def _reach(self) -> None:
        """See that the machine begins commands: one that hangs takes them, and says nothing.

        :raises TimedOut: it does not.
        """
        machines, machine = self.observer.where(self.service)
        left = self.left
        try:
            await machines.run(machine, ("true",), timeout_s=min(left, REACH_S))
        except TimedOut:
            if left < REACH_S:
                raise self._too_long() from None
            raise TimedOut(f"{machine}: no command begins there within {REACH_S:g} s") from None

    async def health(self) -> Steps:
        """Wait until the service is well.

        :raises BackendError: it does not become well in time.
        """
        yield self.step("health", "running")
        end = self.elapsed + min(self._settings.health_s, self.left)
        seen = await self.observer.look(self.service)
        while seen.state != "running":
            if self.elapsed >= end:
                raise BackendError(
                    f"{self.service.name} did not become well: {seen.state} ({seen.detail})"
                )
            await asyncio.sleep(PAUSE)
            seen = await self.observer.look(self.service)
        yield self.step("health", "done", f"{self.service.name} is running")


class Workshop:
    """Where actions are done: one at a time on each service, over all processes."""

    def __init__(
        self,
        settings: ServicesSettings,
        observer: Observer,
        sightings: Sightings,
        leases: Leases,
    ) -> None:
        self.sightings = sightings
        self._settings = settings
        self._observer = observer
        self._leases = leases
        self._tasks: set[asyncio.Task[None]] = set()

    async def do(self, service: Service, action: Callable[[Work], Steps]) -> Steps:
        """The steps of *action* on *service*, which goes on where nobody reads them any more.

        :raises LeaseHeld: something is being done to it already.
        :raises SparkError: what the action raises.
        """
        steps = asyncio.Queue[Step | None]()
        task = asyncio.create_task(self._do(service, action, steps), name=f"at {service.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        while (step := await steps.get()) is not None:
            yield step
        await task

    async def _do(
        self, service: Service, action: Callable[[Work], Steps], steps: asyncio.Queue[Step | None]
    ) -> None:
        work = Work(service, self._observer, self._settings)
        try:
            async with self._leases.hold(f"service:{service.name}", LEASE_S):
                await self.sightings.expect(service.name, self._settings.cap_s)
                try:
                    await _take(action(work), work, steps)
                finally:
                    await self._settle(service)
        finally:
            steps.put_nowait(None)

    async def _settle(self, service: Service) -> None:
        """Restarts from now on are not ours."""
        seen: Observation = await self._observer.look(service)
        with suppress(SparkError):
            await self.sightings.settle(service.name, seen.identity)

    async def aclose(self) -> None:
        """Give up what still goes on."""
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _take(action: Steps, work: Work, steps: asyncio.Queue[Step | None]) -> None:
    """Put the steps of *action* into *steps* as it takes them, also that which fails."""
    phase = "begin"
    try:
        async with aclosing(action) as taken:
            async for step in taken:
                phase = step.phase
                steps.put_nowait(step)
    except SparkError as error:
        steps.put_nowait(work.step(phase, "failed", str(error)))
        raise


@asynccontextmanager
async def open_workshop(
    settings: ServicesSettings, observer: Observer, sightings: Sightings, leases: Leases
) -> AsyncIterator[Workshop]:
    """The workshop of this process."""
    workshop = Workshop(settings, observer, sightings, leases)
    try:
        yield workshop
    finally:
        await workshop.aclose()
