"""A world for swaps: machines in memory, a door that counts, and time that pauses move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from spark_core.contracts.model_hosts import Launch
from spark_core.declarations import StateSchema
from spark_core.errors import BackendError
from spark_core.state import Leases, State
from spark_core.swaps.catalog import Catalog
from spark_core.swaps.history import SwapHistory
from spark_core.swaps.machine import Machine, Parts
from spark_core.swaps.models import Counts, Swap, SwapEvent
from spark_core.swaps.settings import SwapSettings
from spark_core.testing.clock import ManualClock
from spark_core.testing.fake_model_host import FakeModelHost

SCHEMA = StateSchema("swaps", "spark_core.swaps.migrations")

CATALOG = """
models:
  small: {repo: lab/small, memory_gib: 60, ready_s: 100}
  large: {repo: lab/large, memory_gib: 60, ready_s: 100, aliases: [big]}
  huge: {repo: lab/huge, memory_gib: 200}
  pair: {repo: lab/pair, memory_gib: 60, nodes: 2, ready_s: 100}
  secret: {repo: lab/secret, memory_gib: 60, env: {HF_TOKEN: hunter2hunter2}}
"""


class FakeDoor:
    """Counts; what is in flight ends after ``takes`` seconds."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.takes = 3.0
        self.closed = False
        self.opened = 0
        self.in_flight = 0
        self.total = Counts()

    def close(self, seconds: float, expected: float = 0.0) -> None:
        self.closed = True

    def open(self) -> None:
        self.closed = False
        self.opened += 1

    def counts(self) -> Counts:
        return self.total.model_copy(update={"drained": self.in_flight})

    async def drained(self, seconds: float) -> bool:
        if self.in_flight:
            self._clock.advance(seconds)
            self.takes -= seconds
            if self.takes <= 0:
                self.in_flight = 0
        await asyncio.sleep(0)
        return self.in_flight == 0


class FakeModels:
    """The server behind the machines in memory."""

    def __init__(self, host: FakeModelHost) -> None:
        self._host = host
        self.foreign: tuple[str, ...] = ()
        self.mute: set[str] = set()

    async def listed(self, key: str | None = None) -> tuple[str, ...]:
        if self._host.serving is not None:
            return (self._host.serving.served_name,)
        return self.foreign if self._host.head.port_taken else ()

    async def work(self, model: str, check: str, key: str | None = None) -> None:
        if model in self.mute:
            raise BackendError("no token came")


class World:
    """``loads`` says how a launch goes: pauses until it is ready; None for never."""

    def __init__(self, state: State, folder: Path) -> None:
        self.state = state
        self.clock = ManualClock()
        self.host = FakeModelHost(("spark1", "spark2"))
        self.door = FakeDoor(self.clock)
        self.models = FakeModels(self.host)
        self.leases = Leases(state, self.clock)
        self.history = SwapHistory(state, self.leases, self.clock)
        file = folder / "models.yaml"
        file.write_text(CATALOG)
        self.settings = SwapSettings(catalog=file)
        self.catalog = Catalog(self.settings, folder / "overrides.yaml")
        self.loads: Callable[[Launch, int], None] = self.load_in(3)
        self.when_paused: list[Callable[[], None]] = []
        self.pauses = 0
        self._since: dict[str, int] = {}

    def load_in(self, pauses: int | None) -> Callable[[Launch, int], None]:
        """Ready after so many pauses, or never."""

        def load(launch: Launch, count: int) -> None:
            if pauses is not None and count == pauses:
                self.host.finish_loading()

        return load

    async def pause(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.pauses += 1
        for each in self.when_paused:
            each()
        if self.host.launches and self.host.serving is None and self.host.head.container:
            launch = self.host.launches[-1][0]
            self._since[launch.id] = self._since.get(launch.id, 0) + 1
            self.loads(launch, self._since[launch.id])
        await asyncio.sleep(0)

    @property
    def parts(self) -> Parts:
        return Parts(
            host=self.host,
            catalog=self.catalog,
            history=self.history,
            models=self.models,
            door=self.door,
            clock=self.clock,
            settings=self.settings,
            forget=lambda: None,
            pause=self.pause,
        )

    async def admitted(self, model: str | None, **more: object) -> Swap:
        """A swap that is its turn."""
        count = len(await self.history.newest(limit=1000))
        swap = Swap(
            id=f"swap-{count}", host="fake", model=model, created_at=self.clock.now(), **more
        )
        await self.history.admit(swap)
        return swap

    async def drive(self, swap: Swap) -> Swap:
        """Work on *swap* to its end."""
        lease = await self.leases.acquire("swap:fake", 1e6)
        try:
            return await Machine(self.parts, swap, lease).run()
        finally:
            await self.leases.release(lease)

    async def swap(self, model: str | None, **more: object) -> Swap:
        """Swap to *model*."""
        await self.drive(swap := await self.admitted(model, **more))
        return await self.history.find(swap.id)

    async def phases(self, swap: Swap) -> list[str]:
        """The phases that were told of, in order; those on the way back have a minus."""
        events = await self.history.events(swap.id)
        return [_shown(event) for event in events if event.kind == "phase"]


def _shown(event: SwapEvent) -> str:
    return f"{'-' if event.data.get('back') else ''}{event.text}"
