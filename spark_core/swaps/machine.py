"""The swap itself: one step after the other, each written down before the next one begins.

Every step can be done twice. So whoever finds a swap that nobody works on any more goes on
where it was: at the phase that is in the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from ..clock import Clock
from ..contracts.model_hosts import HostState, ModelHost
from ..errors import LeaseLost, NotConfigured, NotFound, SparkError, Unavailable
from ..state import Lease
from .catalog import Catalog, CatalogModel
from .evidence import Watch, what_stays
from .history import SwapHistory
from .logs import LaunchLog
from .memory import not_released
from .models import Counts, Failure, Memory, Outcome, Phase, Swap
from .readiness import Models, key_of
from .room import Room
from .settings import SwapSettings

__all__ = ["Door", "Machine", "Parts"]

#: Seconds between two looks at the machines.
POLL: Final = 1.0

#: Seconds that the door stays closed when nobody keeps it so, and between keeping it so.
CLOSED: Final = 10.0
KEEP: Final = 2.0

#: Seconds between two looks whether somebody called it off, while requests end.
DRAINING: Final = 1.0

FENCED: Final = (
    "the machines obey a controller with a newer state than this one; if that one is gone for "
    "good, remove the files fence.* from the machines' folders (~/.spark-core)"
)

Pause = Callable[[float], Awaitable[None]]


class Door(Protocol):
    """What lets requests through to the backend whose model is swapped."""

    def close(self, seconds: float, expected: float = 0.0) -> None:
        """Let nobody through for *seconds* from now; called again, it stays closed.

        *expected* is how many seconds it will probably have to stay so.
        """
        ...

    def open(self) -> None:
        """Let everybody through who waits."""
        ...

    def counts(self) -> Counts:
        """How many were ever queued, refused and cut off here while it was closed.

        ``drained`` is how many are in flight now.
        """
        ...

    async def drained(self, seconds: float) -> bool:
        """Wait until nothing is in flight; False where that takes longer than *seconds*."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a swap is done with."""

    host: ModelHost
    catalog: Catalog
    history: SwapHistory
    models: Models
    door: Door
    clock: Clock
    settings: SwapSettings
    forget: Callable[[], None]  # what the gateway knows of the backend's models
    pause: Pause = asyncio.sleep


class _Refused(Exception):
    """Nothing was touched."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class _Broken(_Refused):
    """It will not be ready; the model before may be brought back."""


class _Stuck(_Refused):
    """Nothing can be launched safely."""


class Machine:
    """Works on one swap, under the lease of its host."""

    def __init__(self, parts: Parts, swap: Swap, lease: Lease) -> None:
        self._parts = parts
        self._host, self._history, self._door = parts.host, parts.history, parts.door
        self._settings = parts.settings
        self._swap = swap
        self._lease = lease
        self._room = Room(parts.history, parts.settings)
        self._entries: dict[str, CatalogModel] = {}

    async def run(self) -> Swap:
        """Bring the swap to its end.

        :raises LeaseLost: somebody else works on it now; nothing more was done.
        """
        try:
            outcome = await self._run()
        except LeaseLost:
            if not await self._history.holds(self._lease):
                raise
            self._swap.failure = Failure(code="fenced", message=FENCED)
            outcome = Outcome.FAILED if self._swap.reached(Phase.DRAINED) else Outcome.REFUSED
        except (NotFound, NotConfigured) as error:  # the catalog, or the settings, changed
            self._swap.failure = Failure(code=error.code, message=error.message)
            outcome = Outcome.REFUSED
        except _Refused as refused:
            self._swap.failure = refused.failure
            outcome = Outcome.REFUSED if refused.failure.code != "cancelled" else Outcome.CANCELLED
        self._swap.serving = await self._serving()
        self._parts.forget()
        await self._history.end(self._swap, outcome, self._lease)
        return self._swap

    async def _run(self) -> Outcome:
        swap = self._swap
        if not swap.reached(Phase.DRAINED) and not swap.back:
            if await self._is_there():
                await self._reach(Phase.READY)
                return Outcome.READY
            await self._look()
        async with self._closed():
            if not swap.reached(Phase.DRAINED) and not swap.back:
                await self._drain()
            return await self._change()

    async def _change(self) -> Outcome:
        """From the drained machines to a model that is ready: the new one, or the old one."""
        swap = self._swap
        if not swap.back:
            try:
                await self._attempt()
                return Outcome.READY
            except _Stuck as stuck:
                swap.failure = stuck.failure
                return Outcome.HALTED
            except _Broken as broken:
                swap.failure = broken.failure
        if swap.model is not None and swap.previous is None:
            await self._clear()
            return Outcome.FAILED
        try:
            if not swap.back:
                swap.back = True
                await self._reach(Phase.DRAINED, f"back to {swap.previous}: {swap.failure}")
            await self._attempt()
            return Outcome.ROLLED_BACK
        except _Broken as broken:
            swap.failure_back = broken.failure
            await self._clear()
        except _Stuck as stuck:
            swap.failure_back = stuck.failure
        return Outcome.FAILED

    async def _attempt(self) -> None:
        try:
            await self._advance()
        except (NotFound, NotConfigured) as error:  # the catalog, or the settings, changed
            raise _broken(error.code, error.message) from None

    async def _clear(self) -> None:
        """Leave nothing half-loaded behind; if that fails, the receipt tells what is there."""
        with suppress(_Stuck):
            await self._stop()

    # -------------------------------------------------------------------- before anything changes

    async def _is_there(self) -> bool:
        """Whether the model that is asked for is up and working already."""
        entry = self._entry()
        if entry is None:
            return False
        self._swap.entry = entry.digest
        last = await self._history.ready(entry.name, 1)
        if self._swap.force or not last or last[0].entry != self._swap.entry:
            return False
        state = await self._observe()
        if state.launch is None or state.launch.name != entry.name or not _runs(state, entry):
            return False
        return await self._works(entry)

    async def _look(self) -> None:
        """Note what is there, and whether the new model will fit.

        :raises _Refused: it will not, or something is there that is not ours.
        """
        swap, state = self._swap, await self._observe()
        if unseen := {n: s.error for n, s in state.nodes.items() if s.error}:
            reason = "; ".join(f"{n}: {e}" for n, e in unseen.items())
            raise _refused("unreachable", f"a machine cannot be looked at: {reason}")
        foreign = [n for n, s in state.nodes.items() if s.container and not s.container.launch]
        if foreign and not swap.take_over:
            raise _refused(
                "not-ours",
                f"what runs on {', '.join(foreign)} was not started from here; "
                "ask with take_over to stop it",
            )
        swap.previous = await self._running_model(state)
        await self._room.note(swap, previous := self._previous(), state)
        judged = self._entry() if not swap.force else None
        if judged and (failure := await self._room.refusal(swap, judged, previous, state)):
            raise _Refused(failure)
        await self._history.save(swap, self._lease)

    async def _running_model(self, state: HostState) -> str | None:
        """The catalog's name of what runs now; of what ran, where it died by itself."""
        launches = {s.container.launch for s in state.nodes.values() if s.container}
        if state.launch is not None and state.launch.id in launches:
            return state.launch.name
        if not launches:
            changed = await self._history.newest_change(self._swap.host)
            return changed.serving if changed else None
        for name in await self._parts.models.listed():
            with suppress(SparkError):
                return self._parts.catalog.find(name).name
        return None

    async def _drain(self) -> None:
        swap = self._swap
        begun = self._door.counts().drained
        limit = self._settings.drain_s if swap.drain_s is None else swap.drain_s
        if not await self._is_drained(limit) and not swap.force:
            left = self._door.counts().drained
            swap.counts.drained = max(begun - left, 0)
            raise _refused("not-drained", f"{left} requests were still running after {limit:g} s")
        # Those that are cut off are counted when their answers break.
        swap.counts.drained = max(begun - self._door.counts().drained, 0)
        await self._heed_cancel(_Refused)
        await self._reach(Phase.DRAINED)

    async def _is_drained(self, limit: float) -> bool:
        end = self._in(limit)
        while (left := (end - self._parts.clock.now()).total_seconds()) > 0:
            if await self._door.drained(min(left, DRAINING)):
                return True
            await self._heed_cancel(_Refused)
        return await self._door.drained(0)

    # ---------------------------------------------------------------------------------- the steps

    async def _advance(self) -> None:
        """From wherever the swap is to a model that is ready, or to empty machines."""
        swap, entry = self._swap, self._entry()
        if not swap.reached(Phase.STOPPED):
            await self._stop()
            self._parts.forget()
            await self._reach(Phase.STOPPED)
        if not swap.reached(Phase.RELEASED):
            await self._heed_cancel()
            await self._release(entry)
            await self._reach(Phase.RELEASED)
        if entry is not None:
            if not swap.reached(Phase.LAUNCHED):
                await self._heed_cancel()
                await self._launch(entry)
                await self._reach(Phase.LAUNCHED)
            if not swap.reached(Phase.READY):
                await self._load(entry)
        if not swap.reached(Phase.READY):
            await self._reach(Phase.READY)

    async def _stop(self) -> None:
        """Stop whatever runs, and see it gone.

        :raises _Stuck: it stays.
        """
        end = self._in(self._settings.release_s)
        while True:
            reason = await self._tell_to_stop()
            every = await self._observe()
            state = self._needed(every)
            if state.is_empty and (not reason or state.nodes != every.nodes):
                return
            if self._parts.clock.now() >= end:
                raise _Stuck(what_stays(state, reason, self._settings.release_s))
            await self._parts.pause(POLL)

    async def _tell_to_stop(self) -> str:
        """Why that did not reach every machine, if it did not."""
        try:
            await self._host.stop(self._lease.fence, foreign=self._swap.take_over)
        except LeaseLost:
            raise
        except SparkError as error:
            return error.message
        return ""

    async def _release(self, entry: CatalogModel | None) -> None:
        """See the memory come back.

        :raises _Stuck: it does not.
        """
        swap, end = self._swap, self._in(self._settings.release_s)
        wanted = await self._room.wanted(swap, entry)
        while True:
            state = self._needed(await self._observe())
            short = {
                name: node
                for name, node in state.nodes.items()
                if node.error or node.memory_available < wanted.get(name, 0)
            }
            if not short:
                break
            if self._parts.clock.now() >= end:
                raise _Stuck(not_released(state, [*short], wanted, self._settings.release_s))
            await self._parts.pause(POLL)
        for name, node in state.nodes.items():
            swap.memory.setdefault(name, Memory()).empty = node.memory_available

    async def _launch(self, entry: CatalogModel) -> None:
        """Begin it. Who cannot be reached is told again: that never begins anything twice.

        :raises _Broken: it cannot be begun.
        """
        end, launch = self._in(entry.ready_s), entry.to_launch(self._swap.launch)
        while True:
            try:
                return await self._host.launch(launch, self._lease.fence)
            except LeaseLost:
                raise
            except SparkError as error:
                unreachable = isinstance(error, Unavailable)
                if not unreachable or self._parts.clock.now() >= end:
                    code = "unreachable" if unreachable else "not-launched"
                    raise _broken(code, error.message) from None
            await self._heed_cancel()
            await self._parts.pause(POLL)

    async def _load(self, entry: CatalogModel) -> None:
        """Watch the model until it does real work.

        :raises _Broken: it never will, or not in time.
        """
        watch = Watch(self._swap.launch, entry.nodes, self._parts.clock.now())
        end = self._since(Phase.LAUNCHED) + timedelta(seconds=entry.ready_s)
        log = LaunchLog(self._host, self._history, self._swap, self._parts.pause)
        async with log.followed(watch, entry):
            late = False  # decided before the last look, so that what is told is not older
            while not await self._is_ready(entry, watch):
                await log.write()
                if late:
                    raise _Broken(watch.too_late(entry.ready_s))
                await self._parts.pause(POLL)
                late = self._parts.clock.now() >= end
        state = await self._observe()
        for name, node in state.nodes.items():
            if not node.error:
                self._swap.memory.setdefault(name, Memory()).after = node.memory_available

    async def _is_ready(self, entry: CatalogModel, watch: Watch) -> bool:
        await self._heed_cancel()
        state = await self._observe()
        if failure := watch.add_state(state, self._parts.clock.now()):
            raise _Broken(failure)
        if watch.is_seen and not self._swap.reached(Phase.LOADING):
            await self._reach(Phase.LOADING)
        return watch.is_seen and await self._works(entry)

    async def _works(self, entry: CatalogModel) -> bool:
        models, name, key = self._parts.models, entry.names[0], key_of(entry)
        if name not in await models.listed(key):
            return False
        try:
            await models.work(name, entry.check, key)
        except SparkError:
            return False
        return True

    # ------------------------------------------------------------------------------ what helps them

    async def _reach(self, phase: Phase, note: str = "") -> None:
        self._swap.phase = phase
        await self._history.save(self._swap, self._lease, note)

    async def _heed_cancel(self, kind: type[_Refused] = _Broken) -> None:
        swap = self._swap
        if not swap.back and (await self._history.find(swap.id)).cancel:
            swap.cancel = True
            raise kind(Failure(code="cancelled", message="somebody called it off"))

    @asynccontextmanager
    async def _closed(self) -> AsyncIterator[None]:
        """While the block runs, no request gets to the backend.

        Whoever loses the lease leaves the door to who has it now.
        """
        before = self._door.counts()
        self._close()
        keeping = asyncio.create_task(self._keep_closed(), name="a closed door")
        try:
            yield
            self._count(before)
            self._parts.forget()
            self._door.open()
        except (_Refused, NotFound, NotConfigured):
            self._count(before)
            self._door.open()
            raise
        finally:
            keeping.cancel()

    async def _keep_closed(self) -> None:
        while True:
            await asyncio.sleep(KEEP)
            self._close()

    def _close(self) -> None:
        swap = self._swap
        gone = (self._parts.clock.now() - swap.created_at).total_seconds()
        self._door.close(CLOSED, max((swap.expected_s or 0.0) - gone, 0.0))

    def _count(self, before: Counts) -> None:
        now, counts = self._door.counts(), self._swap.counts
        counts.queued += now.queued - before.queued
        counts.refused += now.refused - before.refused
        counts.lost += now.lost - before.lost

    async def _observe(self) -> HostState:
        return await self._host.observe(fence=self._lease.fence)

    def _needed(self, state: HostState) -> HostState:
        """*state* without machines that are out of reach and that the model does not run on."""
        entry = self._entry()
        needed = [*state.nodes][: entry.nodes if entry else None]
        nodes = {n: s for n, s in state.nodes.items() if n in needed or not s.error}
        return replace(state, nodes=nodes)

    async def _serving(self) -> str | None:
        entry = self._known(self._swap.target) or self._previous()
        listed = await self._parts.models.listed(key_of(entry) if entry else None)
        for name in listed:
            with suppress(SparkError):
                return self._parts.catalog.find(name).name
        return listed[0] if listed else None

    def _entry(self) -> CatalogModel | None:
        """What is worked towards: as it was when this began, whatever becomes of the catalog."""
        target = self._swap.target
        if target is None:
            return None
        if target not in self._entries:
            self._entries[target] = self._parts.catalog.find(target)
        return self._entries[target]

    def _previous(self) -> CatalogModel | None:
        return self._known(self._swap.previous)

    def _known(self, name: str | None) -> CatalogModel | None:
        if name is not None and name not in self._entries:
            with suppress(NotFound):
                self._entries[name] = self._parts.catalog.find(name)
        return self._entries.get(name or "")

    def _in(self, seconds: float) -> datetime:
        return self._parts.clock.now() + timedelta(seconds=seconds)

    def _since(self, phase: Phase) -> datetime:
        """When *phase* was reached in the present direction."""
        swap = self._swap
        times = [s.at for s in swap.steps if s.phase is phase and s.back is swap.back]
        return times[-1] if times else self._parts.clock.now()


def _runs(state: HostState, entry: CatalogModel) -> bool:
    nodes = [*state.nodes.values()][: entry.nodes]
    launch = state.launch.id if state.launch else None
    return all(n.container is not None and n.container.launch == launch for n in nodes)


def _refused(code: str, message: str) -> _Refused:
    return _Refused(Failure(code=code, message=message))


def _broken(code: str, message: str) -> _Broken:
    return _Broken(Failure(code=code, message=message))
