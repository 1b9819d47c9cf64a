"""The promotion itself: one step after the other, each written down before the next one begins.

Every step can be done twice. So whoever finds a promotion that nobody works on any more goes on
where it was. What does not work once a destination may have been changed is taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spark_core.errors import BackendError, LeaseLost, SparkError, TimedOut, Unavailable
from spark_core.state import Lease

from .binary import keep
from .checks import Look, check, is_whole
from .history import History
from .models import Broken, Mark, Options, Outcome, Phase, Promotion
from .nodes import Nodes, patiently
from .services import Services
from .settings import LOCAL, Consumer, PromotionSettings
from .verifying import ask
from .watching import Limits, Watch

__all__ = ["Parts", "Work", "start_period"]

FENCED: Final = (
    "the machines obey a controller with a newer state than this one; if that one is gone for "
    "good, remove the files fence.* from the machines' folders ({folder})"
)


@dataclass(frozen=True)
class Parts:
    """What a promotion is done with. Binaries are kept in *directory* meanwhile."""

    history: History
    nodes: Nodes
    settings: PromotionSettings
    directory: Path


def start_period(options: Options, settings: PromotionSettings) -> int | None:
    """The start period in seconds that the service gets; None where it keeps its own."""
    if options.health_start_period is not None:
        return options.health_start_period
    return settings.migrate_start_period_s if options.migrate else None


class Work:
    """Works on one promotion, under its lease."""

    def __init__(self, parts: Parts, promotion: Promotion, lease: Lease) -> None:
        self._parts = parts
        self._nodes, self._history, self._settings = parts.nodes, parts.history, parts.settings
        self._promotion = promotion
        self._plan = promotion.declared
        self._lease = lease
        self._services = Services(parts.nodes, self._plan.by)

    async def run(self) -> Promotion:
        """Bring the promotion to its end.

        :raises LeaseLost: somebody else works on it now; nothing more was done.
        """
        await self._history.end(self._promotion, await self._run(), self._lease)
        if self._promotion.outcome is not Outcome.HALTED:
            await asyncio.to_thread(self._file.unlink, missing_ok=True)
        return self._promotion

    async def _run(self) -> Outcome:
        promotion = self._promotion
        if not promotion.back:
            failure = await self._tried(self._forward)
            if failure is None:
                promotion.failure = None
                return Outcome.READY
            promotion.failure = failure.failure
            if not promotion.touched:
                await self._tried(self._tidy)
                return Outcome.REFUSED
            if failure.stops:
                return Outcome.HALTED
            promotion.back = True
            await self._save(f"{failure.failure.message}: it is taken back")
        failure = await self._tried(self._return)
        promotion.failure_back = failure.failure if failure else None
        return Outcome.HALTED if failure else Outcome.ROLLED_BACK

    async def _tried(self, steps: Callable[[], Awaitable[None]]) -> Broken | None:
        """What went wrong in *steps*, if anything did."""
        try:
            await steps()
        except LeaseLost:
            if not await self._history.holds(self._lease):
                raise
            return Broken("fenced", FENCED.format(folder=self._settings.folder))
        except Broken as broken:
            return broken
        except Unavailable as error:  # what goes on there is not cut off because nobody sees it
            return Broken(error.code, error.message, stops=True)
        except SparkError as error:
            return Broken(error.code, error.message)
        return None

    async def _forward(self) -> None:
        for phase, step in self._steps():
            if not self._promotion.reached(phase):
                await step()
                await self._history.reach(self._promotion, phase, self._lease)
        if left := await self._tried(self._prune):  # no reason to take back what serves
            await self._save(f"old backups stay: {left.failure.message}")

    def _steps(self) -> Iterator[tuple[Phase, Callable[[], Awaitable[None]]]]:
        options = self._promotion.options
        if options.build:
            yield Phase.BUILT, self._build
        yield Phase.CHECKED, self._check
        yield Phase.BACKED_UP, self._back_up
        yield Phase.COPIED, self._copy
        yield Phase.INSTALLED, self._install
        if options.no_restart:
            return
        yield Phase.RESTARTED, self._restart
        yield Phase.BOUND, self._bound
        if options.restore_health_period:
            yield Phase.RESTORED, self._restore
        if options.restart_consumers:
            yield Phase.CONSUMERS, self._restart_consumers
        if options.verify:
            yield Phase.VERIFIED, self._verify

    # ------------------------------------------------------------------------------ each step

    async def _build(self) -> None:
        is_whole(self._plan, self._promotion.options, self._nodes.places)
        place = self._nodes.places.of(LOCAL)
        where = ("-C", str(self._plan.build_directory), f"FEATURES={self._settings.features}")
        command = ("env", *where, *self._plan.build)
        try:
            async with aclosing(
                place.follow(LOCAL, command, timeout_s=self._plan.build_s)
            ) as lines:
                async for line in lines:
                    await self._history.log(self._promotion, [line])
        except (BackendError, TimedOut) as error:
            program = self._plan.build[0]
            raise Broken("build", f"the build ({program}) failed: {error.message}") from error

    async def _check(self) -> None:
        promotion = self._promotion
        await asyncio.to_thread(keep, self._plan.binary, self._file)
        look = Look(self._plan, promotion.options, self._file, self._nodes, self._services)
        found = await check(look)
        if found.binary is not None:
            promotion.digest, promotion.size = found.binary.digest, found.binary.size
        promotion.old = {node: state.digest for node, state in found.nodes.items()}
        promotion.ids = {node: state.id for node, state in found.nodes.items()}
        promotion.marks["service"] = found.mark
        moment = promotion.created_at.strftime("%Y%m%dT%H%M%SZ")
        promotion.backup = f"{self._plan.to}.bak-{moment}"

    async def _back_up(self) -> None:
        for node, digest in self._promotion.old.items():
            arguments = (self._plan.to, self._promotion.backup, digest)
            await self._nodes.do(node, "backup", self._fence, *arguments)

    async def _copy(self) -> None:
        if not self._file.is_file():
            raise Broken("not_kept", "the binary that was examined is not on this machine")
        for node in self._promotion.old:
            await self._nodes.send(node, self._lease.fence, self._file, self._temp)
            arguments = (self._plan.to, self._temp, self._promotion.digest)
            await self._nodes.do(node, "ready", self._fence, *arguments)

    async def _install(self) -> None:
        for node, digest in self._promotion.old.items():
            arguments = (self._plan.to, self._temp, digest, self._promotion.digest)
            await self._nodes.do(node, "install", self._fence, *arguments)

    async def _restart(self) -> None:
        period = start_period(self._promotion.options, self._settings)
        await self._update("restart", self._plan.serves, period)

    async def _bound(self) -> None:
        await self._wait("restart")

    async def _restore(self) -> None:
        period = self._settings.normal_start_period_s
        await self._update("restore", self._plan.serves, period)
        await self._wait("restore")

    async def _restart_consumers(self) -> None:
        for consumer in self._plan.consumers or ():
            await self._restart_consumer(f"consumer {consumer.service}", consumer)
            await self._save(f"{consumer.service} runs again")

    async def _restart_consumer(self, key: str, consumer: Consumer) -> None:
        mark = await self._update(key, consumer.service, None)
        limits = Limits(consumer.ready_s, consumer.ready_s)
        await self._watch().serves(consumer.service, mark, None, limits)

    async def _verify(self) -> None:
        for query in self._plan.verify:
            await ask(query, self._nodes.places, self._settings)
            await self._save(f"{query.name}: {'rejected' if query.rejected else 'answered'}")

    # ------------------------------------------------------------------------------ taking back

    async def _return(self) -> None:
        """The old binary, and the old service; a step that was begun before is done again."""
        promotion = self._promotion
        if not promotion.reached(Phase.RETURNING):
            await self._history.reach(promotion, Phase.RETURNING, self._lease)
        if promotion.touched:
            for node, digest in promotion.old.items():
                arguments = (self._plan.to, promotion.backup, digest, promotion.digest, self._temp)
                await self._nodes.do(node, "restore", self._fence, *arguments)
        else:
            await self._tidy()
        await self._reach_once(Phase.RETURNED)
        await self._serve_again()
        await self._reach_once(Phase.SERVING)

    async def _serve_again(self) -> None:
        """The old server takes the place of the new one, if that may have begun."""
        before = self._promotion.marks.get("service")
        if before is None or not self._promotion.touched:
            return
        if "back" not in self._promotion.marks:
            service = await self._services.look(self._plan.serves)
            same = {task.id for task in service.present} <= {*before.tasks}
            if same and service.present and service.start_period_s == before.start_period_s:
                return
        period = before.start_period_s or 0
        changed = any(mark in self._promotion.marks for mark in ("restart", "restore"))
        await self._update("back", self._plan.serves, period if changed else None)
        await self._wait("back")
        for consumer in self._plan.consumers or ():
            if f"consumer {consumer.service}" in self._promotion.marks:
                await self._restart_consumer(f"back {consumer.service}", consumer)

    async def _tidy(self) -> None:
        """Nothing of it stays on the nodes; of a backup nobody has need, unless it is older."""
        promotion = self._promotion
        if promotion.old:
            last = await self._history.newest_touching(promotion.plan, before=promotion.id)
            mine = last is None or last.backup != promotion.backup
            backup = [promotion.backup] if mine else []
            await self._each("discard", self._temp, f"{promotion.backup}.part", *backup)

    async def _prune(self) -> None:
        keep = str(self._settings.keep_backups)
        await self._each("prune", self._plan.to, keep, self._promotion.backup)

    # ------------------------------------------------------------------------------ pieces

    async def _update(self, key: str, name: str, period_s: float | None) -> Mark:
        """Let *name* begin anew, once: the mark *key* tells whether that was done."""
        promotion = self._promotion
        if key not in promotion.marks:
            promotion.marks[key] = (await self._services.look(name)).mark
            await self._save()
        mark = promotion.marks[key]

        async def once() -> None:
            try:
                await self._services.update(self._fence, name, mark.forced, period_s)
            except Broken as broken:
                # Whoever told it may have died when it was done.
                if (await self._services.look(name)).forced == mark.forced:
                    raise Unavailable(broken.failure.message) from broken

        try:
            await patiently(once, self._settings.reach_s)
        except Unavailable as error:
            if isinstance(error.__cause__, Broken):  # it is there, and will not
                raise error.__cause__ from None
            raise
        return mark

    async def _wait(self, key: str) -> None:
        """Wait until the tasks serve that began after the mark *key*."""
        limits = Limits(self._settings.watch_s, self._settings.stall_s)
        name, mark, logs = self._plan.serves, self._promotion.marks[key], self._plan.logs
        self._promotion.container = await self._watch().serves(name, mark, logs, limits)
        await self._save()

    def _watch(self) -> Watch:
        machines = {id: node for node, id in self._promotion.ids.items()}

        async def tell(lines: Sequence[str]) -> None:
            await self._history.log(self._promotion, lines)

        return Watch(self._nodes, self._services, self._settings, machines, tell)

    async def _reach_once(self, phase: Phase) -> None:
        if not self._promotion.reached(phase):
            await self._history.reach(self._promotion, phase, self._lease)

    async def _each(self, verb: str, *arguments: str) -> None:
        for node in self._promotion.old:
            await self._nodes.do(node, verb, self._fence, *arguments)

    async def _save(self, note: str = "") -> None:
        await self._history.save(self._promotion, self._lease, note)

    @property
    def _fence(self) -> str:
        return str(self._lease.fence)

    @property
    def _temp(self) -> str:
        """Where the new binary lies until it is installed: no other promotion's is called so."""
        folder, _, name = self._plan.to.rpartition("/")
        return f"{folder}/.{name}.new-{self._promotion.id}"

    @property
    def _file(self) -> Path:
        return self._parts.directory / self._promotion.id
