"""Begins promotions, works on them, takes them back, and follows them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from spark_core.clock import Clock
from spark_core.containment import contained
from spark_core.contracts.machines import Machines
from spark_core.errors import Conflict, LeaseHeld
from spark_core.plugins import Plugins
from spark_core.settings import DataDirectory
from spark_core.state import Lease, Leases, State

from .checks import Found, Look, check
from .history import History
from .models import Event, Options, Outcome, Promotion
from .nodes import Nodes
from .places import Places
from .services import Services, arguments
from .settings import Plan, PromotionSettings
from .telling import told
from .work import Parts, Work, start_period

__all__ = ["Promotions", "open_promotions"]

#: The lease of whoever works on a promotion, and its time to live in seconds: so long after
#: they were killed somebody else can go on. Its fence is what machines obey.
LEASE: Final = "promotion"
LEASE_S: Final = 6.0

#: Seconds between two looks at what happened.
LOOK: Final = 0.1


class Promotions:
    """The promotions of all plans; at most one runs."""

    def __init__(
        self,
        history: History,
        parts: Parts,
        settings: PromotionSettings,
        leases: Leases,
        clock: Clock,
    ) -> None:
        self.history = history
        self.settings = settings
        self._parts = parts
        self._leases = leases
        self._clock = clock

    async def begin(
        self, name: str, options: Options, *, caller: str, token: str | None = None
    ) -> Promotion:
        """Admit a promotion of the plan *name*; one that did not end goes on instead.

        :raises InvalidRequest: there is no such plan.
        :raises Locked: a guard forbids it, or another one runs.
        :raises Forbidden: the token is wrong.
        :raises Conflict: a swap runs, or one that did not end was begun with other options.
        """
        plan = self.settings.plan(name)
        last = await self.history.newest(name)
        if last is not None and last.outcome in (None, Outcome.HALTED):
            if options not in (Options(), last.options):
                raise Conflict(
                    f"the promotion {last.id} of {name} has not ended ({last.phase})",
                    hint=f"go on with it: spark promote {name}; or take it back: spark promote "
                    f"rollback {name}",
                )
            if last.outcome is Outcome.HALTED:
                return await self._admit_again(last, token, f"{caller} lets it go on")
            return last
        promotion = Promotion(
            id=secrets.token_hex(8),
            plan=name,
            declared=plan,
            options=options,
            caller=caller,
            created_at=self._clock.now(),
        )
        with contained("a swap guard"):
            await self.history.admit(promotion, token)
        return promotion

    async def take_back(self, name: str, *, caller: str, token: str | None = None) -> Promotion:
        """Let the newest promotion of *name* be taken back.

        :raises Conflict: there is nothing to take back, or a swap runs.
        :raises Locked: a guard forbids it, or another one runs.
        :raises LeaseHeld: somebody works on it.
        """
        self.settings.plan(name)
        last = await self.history.newest_touching(name)
        if last is None or last.outcome is Outcome.ROLLED_BACK:
            why = "was taken back already" if last else "was never promoted"
            raise Conflict(f"{name} {why}")
        note = f"{caller} takes it back"
        if last.outcome is not None:
            return await self._admit_again(last, token, note, back=True)
        async with self._turn() as lease:
            last = await self.history.find(last.id)  # whoever had the lease may have gone on
            if last.outcome is not None:
                raise Conflict(f"{name} ended meanwhile", hint=f"see: spark promote status {name}")
            last.back = last.asked_back = True
            await self.history.save(last, lease, note)
        return last

    async def _admit_again(
        self, known: Promotion, token: str | None, note: str, *, back: bool = False
    ) -> Promotion:
        with contained("a swap guard"):
            return await self.history.admit_again(known, token, note, back=back)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Lease]:
        """The lease, also that of somebody who was killed, when it has run out.

        :raises LeaseHeld: they live, and go on.
        """
        end = asyncio.get_running_loop().time() + 2 * LEASE_S
        async with AsyncExitStack() as stack:
            while True:
                try:
                    held = self._leases.hold(LEASE, LEASE_S)
                    lease = await stack.enter_async_context(held)
                    break
                except LeaseHeld:
                    if asyncio.get_running_loop().time() >= end:
                        raise
                await asyncio.sleep(LOOK)
            yield lease

    async def work(self, id: str) -> None:
        """Bring a promotion to its end.

        :raises LeaseHeld: somebody else works on it, and goes on to.
        :raises LeaseLost: somebody else took it over.
        """
        async with self._turn() as lease:
            # Read anew: whoever had the lease until now may have gone on meanwhile.
            promotion = await self.history.find(id)
            if promotion.outcome is None:
                await Work(self._parts, promotion, lease).run()

    async def follow(self, id: str, working: asyncio.Task[None]) -> AsyncGenerator[Event, None]:
        """What happens in a promotion, from now on, while *working* goes on."""
        after = 0
        while True:
            ended = working.done()
            for event in await self.history.events(id, after):
                after = event.id
                yield event
            if ended:
                await working
                return
            await asyncio.wait([working], timeout=LOOK)

    async def brought_to_its_end(self, id: str) -> AsyncGenerator[Event, None]:
        """Work on a promotion, and tell what happens.

        :raises Conflict: somebody else works on it.
        """
        working = asyncio.create_task(self.work(id), name="working on a promotion")
        try:
            async for event in self.follow(id, working):
                yield event
        except LeaseHeld:
            raise Conflict(
                "somebody else works on it", hint="see: spark promote status NAME"
            ) from None
        finally:
            working.cancel()
            await asyncio.wait([working])

    # ------------------------------------------------------------------------------- dry run

    async def rehearse(self, name: str, options: Options) -> list[str]:
        """What a promotion would do; nothing is changed, and nothing is written down.

        :raises Broken: it could not be done.
        """
        plan = self.settings.plan(name)
        file = None if options.build else plan.binary  # what is to be built is not there yet
        look = Look(plan, options, file, self._parts.nodes, self._services(plan))
        found = await check(look)
        lines = [told(f"build: {' '.join(plan.build)}")] if options.build else []
        return [*lines, *_seen(plan, found), *_planned(plan, options, self.settings)]

    def _services(self, plan: Plan) -> Services:
        return Services(self._parts.nodes, plan.by)


def _seen(plan: Plan, found: Found) -> list[str]:
    binary, lines = found.binary, []
    if binary is not None:
        lines.append(f"binary: {plan.binary}, {binary.size} bytes, sha256 {binary.digest}")
    for node, state in found.nodes.items():
        lines.append(f"{node}: {plan.to} is sha256 {state.digest}")
    return lines


def _planned(plan: Plan, options: Options, settings: PromotionSettings) -> list[str]:
    lines = [
        f"{node}: back {plan.to} up, copy the binary beside it, compare, and rename"
        for node in plan.nodes
    ]
    if options.no_restart:
        return lines
    update = f"{plan.by}: docker service update"
    first = arguments(plan.serves, start_period(options, settings))
    lines.append(f"{update} {' '.join(first)}")
    lines.append(f"wait until {plan.serves} serves, for {settings.watch_s:g} s at most")
    if options.restore_health_period:
        normal = arguments(plan.serves, settings.normal_start_period_s)
        lines.append(f"{update} {' '.join(normal)}")
    if options.restart_consumers:
        for consumer in plan.consumers or ():
            lines.append(f"{update} {' '.join(arguments(consumer.service, None))}")
    if options.verify:
        lines += [f"ask: {query.name}" for query in plan.verify]
    return lines


@asynccontextmanager
async def open_promotions(
    settings: PromotionSettings,
    machines: Machines | None,
    plugins: Plugins,
    state: State,
    leases: Leases,
    clock: Clock,
    data: DataDirectory,
) -> AsyncIterator[Promotions]:
    """The promotions of this cluster; nothing is reached yet."""
    # One guard is this plugin's own: history asks it in any case, and for a better reason.
    guards = [each for each in plugins.swap_guards() if each.name != "promotion"]
    history = History(state, leases, clock, guards)
    nodes = Nodes(Places(machines), settings)
    parts = Parts(history, nodes, settings, data.path / "promotion")
    yield Promotions(history, parts, settings, leases, clock)
