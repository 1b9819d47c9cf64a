"""Begins swaps, finds whoever should work on them, and follows them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from ..clock import Clock
from ..containment import contained
from ..contracts.model_hosts import ModelHost
from ..errors import LeaseHeld, NotConfigured, SparkError
from ..gateway.gateway import Gateway
from ..plugins import Plugins
from ..references import resolved
from ..state import Leases, State
from .catalog import Catalog
from .doors import GatewayDoor
from .guards import SwapGuard
from .history import SwapHistory
from .machine import Machine, Parts
from .models import Swap, SwapEvent
from .readiness import GatewayModels
from .settings import SwapSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SERVICE", "Swaps", "open_history", "open_swaps"]

#: The background service that works on swaps.
SERVICE: Final = "swaps.drive"

#: The time to live of the lease of a host, in seconds: when who works on a swap is killed,
#: another goes on after it.
LEASE: Final = 6.0

#: Seconds between two looks at what happened in a swap.
LOOK: Final = 0.3


log = logging.getLogger(__name__)


class Swaps:
    """The swaps of the one model host."""

    def __init__(
        self,
        history: SwapHistory,
        catalog: Catalog,
        parts: Parts | None,
        guards: Sequence[SwapGuard],
        state: State,
        leases: Leases,
        clock: Clock,
        missing: NotConfigured | None = None,
    ) -> None:
        self.history = history
        self.catalog = catalog
        self._parts = parts
        self._guards = guards
        self._state = state
        self._leases = leases
        self._clock = clock
        self._missing = missing

    @property
    def parts(self) -> Parts:
        """What a swap is done with.

        :raises NotConfigured: there is no model host, or no backend in front of it.
        """
        if self._parts is None:
            raise self._missing or NotConfigured(
                "there is no model host on which models could be swapped",
                hint="set [plugins.vllm.launch] and [plugins.ssh] in spark.toml",
            )
        return self._parts

    @property
    def host(self) -> str | None:
        """The name of the model host, if there is one."""
        return self._parts.host.name if self._parts else None

    async def allowed(self, token: str | None) -> None:
        """Whether a swap may begin now.

        :raises Locked: a guard forbids it.
        :raises Forbidden: *token* is wrong.
        """

        def ask(connection: Connection) -> None:
            for guard in self._guards:
                resolved(guard.check)(connection, token, self._clock.now())

        with contained("a swap guard"):
            await self._state.read(ask)

    async def begin(
        self,
        model: str | None,
        *,
        caller: str,
        token: str | None = None,
        guarded: bool = True,
        reason: str = "",
        force: bool = False,
        take_over: bool = False,
        drain_s: float | None = None,
    ) -> Swap:
        """Admit a swap to *model*, or to empty machines; who works on it will find it.

        :raises Locked: a guard forbids it.
        :raises Forbidden: *token* is wrong.
        :raises NotFound: the catalog does not have the model.
        :raises SwapRuns: another swap runs.
        :raises NotConfigured: there is no model host.
        """
        if guarded:
            await self.allowed(token)
        name = self.catalog.find(model).name if model is not None else None
        swap = Swap(
            id=secrets.token_hex(8),
            host=self.parts.host.name,
            model=name,
            caller=caller,
            reason=reason,
            force=force,
            take_over=take_over,
            drain_s=drain_s,
            created_at=self._clock.now(),
            expected_s=await self.history.expected_s(name),
        )
        guards = self._guards if guarded else ()
        with contained("a swap guard"):
            await self.history.admit(swap, guards, token)
        return swap

    async def hosted(self) -> bool:
        """Whether a host works on swaps, in whatever process."""
        return await self._leases.current(f"background:{SERVICE}") is not None

    async def work(self) -> None:
        """Work on the swap that runs, if one does and nobody else works on it.

        :raises LeaseLost: somebody else works on it now.
        """
        running = await self.history.running(self.parts.host.name)
        if running is None:
            return
        with suppress(LeaseHeld):
            async with self._leases.hold(f"swap:{running.host}", LEASE) as lease:
                # Read anew: whoever had the lease until now may have gone on meanwhile.
                swap = await self.history.find(running.id)
                if swap.outcome is None:
                    await Machine(self.parts, swap, lease).run()

    async def follow(
        self,
        swap_id: str,
        after: int = 0,
        *,
        until: Callable[[], Awaitable[bool]] | None = None,
    ) -> AsyncGenerator[SwapEvent, None]:
        """What happens in a swap, from the event *after* on, until it has ended or *until* holds.

        :raises NotFound: there is no such swap.
        """
        while True:
            swap = await self.history.find(swap_id)
            events = await self.history.events(swap_id, after)
            for event in events:
                after = event.id
                yield event
            if events:
                continue
            if swap.outcome is not None or (until is not None and await until()):
                return
            await asyncio.sleep(LOOK)

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """While the block runs, swaps are worked on here where no host does that.

        So a command that waits for a swap gets it done without a server.
        """
        attending = asyncio.create_task(self._attend(), name="attending a swap")
        try:
            yield
        finally:
            attending.cancel()
            with suppress(asyncio.CancelledError, SparkError):
                await attending

    async def _attend(self) -> None:
        while True:
            if not await self.hosted():
                try:
                    await self.work()
                except SparkError:
                    pass  # somebody else has it, or the state is away: it is tried again
                except Exception as error:  # who follows would wait for ever if this ended
                    log.error("working on a swap failed (%s)", type(error).__name__)
            await asyncio.sleep(LOOK)

    async def ended(self, swap_id: str) -> Swap:
        """The swap when it has ended; it is worked on here where no host does that."""
        async with self.attended():
            async for _ in self.follow(swap_id):
                pass
        return await self.history.find(swap_id)


async def drive_swaps(swaps: Swaps) -> None:
    """Work on whatever swap runs, for ever."""
    while True:
        await swaps.work()
        await asyncio.sleep(LOOK)


@asynccontextmanager
async def open_history(state: State, leases: Leases, clock: Clock) -> AsyncIterator[SwapHistory]:
    """The swaps in the state."""
    yield SwapHistory(state, leases, clock)


@asynccontextmanager
async def open_swaps(
    history: SwapHistory,
    catalog: Catalog,
    settings: SwapSettings,
    host: ModelHost | None,
    gateway: Gateway,
    plugins: Plugins,
    state: State,
    leases: Leases,
    clock: Clock,
) -> AsyncIterator[Swaps]:
    """The swaps of the model host that settings name; without one they are empty."""
    parts, missing = None, None
    if host is not None and host.backend not in gateway.backends:
        missing = _no_backend(host.backend, gateway)
    elif host is not None:
        parts = Parts(
            host=host,
            catalog=catalog,
            history=history,
            models=GatewayModels(gateway, host.backend),
            door=GatewayDoor(gateway.admission, host.backend, settings.arriving),
            clock=clock,
            settings=settings,
            forget=lambda: gateway.forget_models(host.backend),
        )
    yield Swaps(history, catalog, parts, plugins.swap_guards(), state, leases, clock, missing)


def _no_backend(name: str, gateway: Gateway) -> NotConfigured:
    """Why models cannot be swapped behind the backend *name*, which the gateway does not have."""
    if name in (backend.name for backend in gateway.disabled):
        return NotConfigured(
            f"the backend {name}, whose model would be swapped, is disabled",
            hint="take it out of DISABLED_SERVICES, or of disabled in [gateway]",
        )
    return NotConfigured(
        f"the backend {name}, whose model would be swapped, is not configured",
        hint="set the url in its section of spark.toml",
    )
