"""``spark promote``: shipping a binary, taking it back, and looking."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from spark_core.clock import Clock
from spark_core.errors import BackendError, InvalidRequest, SparkError
from spark_core.operations import Progress
from spark_core.settings import Env
from spark_core.spark import Caller

from .driving import Promotions
from .models import Broken, Event, Options, Outcome, Phase, Promotion

__all__ = ["promote", "rollback", "shown", "shown_status", "status"]

log = logging.getLogger(__name__)


class RollbackRequest(BaseModel, defer_build=True):
    """Which plan."""

    name: str = Field(description="A plan of [plugins.promotion.plans].")
    token: Annotated[SecretStr | None, Env("SPARK_LOCK_TOKEN")] = Field(
        default=None,
        description="That of the reservation, if there is one. Better in the environment than on "
        "a command line.",
    )

    @property
    def text(self) -> str | None:
        """The token itself."""
        return self.token.get_secret_value() if self.token is not None else None


class PromoteRequest(Options, RollbackRequest, defer_build=True):
    """Which plan is promoted, and how."""

    dry_run: bool = Field(default=False, description="Say what would be done, and change nothing.")

    @property
    def options(self) -> Options:
        """What is to be done beside shipping."""
        return Options(**{key: getattr(self, key) for key in Options.model_fields})


async def promote(
    request: PromoteRequest,
    promotions: Promotions,
    caller: Caller,
    progress: Progress,
    clock: Clock,
) -> AsyncGenerator[Event | Promotion, None]:
    """Ship a server binary to its service, as its plan in the settings says.

    It is backed up, copied and compared, and renamed into its place; then the service begins anew,
    and is watched until it serves. What does not work is taken back. One that was broken off goes
    on where it was.
    """
    options = request.options
    _refuse_contradictions(options)
    if request.dry_run:
        try:
            lines = await promotions.rehearse(request.name, options)
        except Broken as broken:
            raise BackendError(f"{request.name}: {broken.failure.message}") from broken
        for line in lines:
            yield Event(at=clock.now(), kind="plan", text=line)
        return
    begun = await promotions.begin(request.name, options, caller=caller.name, token=request.text)
    async with aclosing(_told(promotions, begun, progress)) as told:
        async for each in told:
            yield each


def _refuse_contradictions(options: Options) -> None:
    """What only makes sense with a restart is not left out without a word.

    :raises InvalidRequest: there is such a thing, but no restart.
    """
    needs = ("verify", "restart_consumers", "migrate", "restore_health_period")
    given = [name for name in needs if getattr(options, name)]
    given += ["health_start_period"] * (options.health_start_period is not None)
    if options.no_restart and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidRequest(f"--no-restart leaves nothing to do for {names}")


async def rollback(
    request: RollbackRequest, promotions: Promotions, caller: Caller, progress: Progress
) -> AsyncGenerator[Event | Promotion, None]:
    """Take the last promotion of a plan back: the binary, and the service."""
    begun = await promotions.take_back(request.name, caller=caller.name, token=request.text)
    async with aclosing(_told(promotions, begun, progress)) as told:
        async for each in told:
            yield each


async def _told(
    promotions: Promotions, promotion: Promotion, progress: Progress
) -> AsyncGenerator[Event | Promotion, None]:
    """What happens until the end, and then the receipt.

    :raises BackendError: it did not end as it was meant to.
    """
    phases = [phase.value for phase in Phase]
    try:
        async with aclosing(promotions.brought_to_its_end(promotion.id)) as events:
            async for event in events:
                if event.kind == "phase":
                    done = phases.index(event.text)
                    progress.update(event.text, done=done, total=len(phases) - 1, unit="phases")
                yield event
    except CancelledError:
        name = promotion.plan
        log.warning("the promotion of %s has not ended; go on: spark promote %s", name, name)
        raise
    ended = await promotions.history.find(promotion.id)
    wanted = Outcome.ROLLED_BACK if ended.asked_back else Outcome.READY
    if ended.outcome is not wanted:
        hint = f"spark promote {ended.plan}, or spark promote rollback {ended.plan}"
        raise BackendError(shown(ended), hint=hint if ended.outcome is Outcome.HALTED else None)
    yield ended


class StatusRequest(BaseModel, defer_build=True):
    """Which plan."""

    name: str


class Status(BaseModel, defer_build=True):
    """The newest promotion of a plan, if there was one, and what happened in it."""

    promotion: Promotion | None
    events: list[Event]


async def status(request: StatusRequest, promotions: Promotions) -> Status:
    """Say how far the promotion of a plan is, or show the receipt of the last one."""
    promotions.settings.plan(request.name)
    newest = await promotions.history.newest(request.name)
    events = await promotions.history.events(newest.id) if newest else []
    return Status(promotion=newest, events=list(events))


def shown_status(status: Status) -> str:
    """What happened, line by line, and how it ended."""
    if status.promotion is None:
        return "it was never promoted"
    return "\n".join([*(shown(event) for event in status.events), shown(status.promotion)])


def shown(told: Promotion | Event | SparkError) -> str:
    """A promotion in one sentence."""
    if isinstance(told, Event):
        return told.text if told.kind != "log" else f"  {told.text}"
    if not isinstance(told, Promotion):
        return str(told)
    why = f": {told.failure.message}" if told.failure and told.outcome is not Outcome.READY else ""
    words = {
        Outcome.READY: "is in place",
        Outcome.ROLLED_BACK: "was taken back; the old binary is in place",
        Outcome.REFUSED: "was refused, and nothing was changed",
        Outcome.HALTED: f"stopped at {told.phase}",
    }
    how = words[told.outcome] if told.outcome else f"is at {told.phase}"
    if told.outcome is Outcome.READY and told.reached(Phase.BOUND):
        how += ", and serves" if not told.reached(Phase.VERIFIED) else ", serves, and was verified"
    back = f"; it could not be taken back: {told.failure_back.message}" if told.failure_back else ""
    return f"{told.plan} {how} (promotion {told.id}){why}{back}"
