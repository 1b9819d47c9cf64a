"""``/api/schedule`` and ``spark schedule``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from spark_core.clock import Clock
from spark_core.operations import Empty
from spark_core.state import State

from .lines import Line
from .locks import Lock, Locks
from .occurrences import parse
from .plans import Clash, Plan, Plans, clashes, next_time

__all__ = ["list_plans", "open_plans", "put_plan", "remove_plan", "shown_plans"]


@asynccontextmanager
async def open_plans(state: State, clock: Clock) -> AsyncIterator[Plans]:
    """The registry in the state."""
    yield Plans(state, clock)


def _of_the_grammar(text: str) -> str:
    parse(text)
    return text


class PlanName(BaseModel, defer_build=True):
    """Whose plan, and which."""

    owner: Line = Field(min_length=1, max_length=200, description="The program that plans.")
    name: Line = Field(min_length=1, max_length=200, description="Its name for the plan.")


class PlanRequest(PlanName, defer_build=True):
    """What a program plans."""

    when: Annotated[str, AfterValidator(_of_the_grammar)] = Field(
        max_length=500,
        description="`every 2h`, `daily 03:00,15:30`, `cron 0 3 * * 1-5` or an ISO time; in UTC.",
    )
    model: Line | None = Field(
        default=None, min_length=1, max_length=200, description="The model that it needs, if any."
    )
    duration_s: float = Field(
        default=3600.0,
        ge=60,
        le=7 * 86400,
        allow_inf_nan=False,
        description="How long it takes, in seconds.",
    )


class PlanConflict(BaseModel, defer_build=True):
    """What a plan meets: another plan that wants another model, or the reservation."""

    kind: Literal["plan", "reservation"]
    owner: str = Field(description="The other plan's owner, or who reserved.")
    name: str = Field(description="The other plan's name, or what it is reserved for.")
    at: datetime = Field(description="When they meet first, as far as is known.")


class PlanState(BaseModel, defer_build=True):
    """A plan, and what stands in its way."""

    owner: str
    name: str
    when: str
    model: str | None
    duration_s: float
    updated_at: datetime
    next_at: datetime | None = Field(description="None where it is not known, or past.")
    conflicts: list[PlanConflict]


class Schedule(BaseModel, defer_build=True):
    """Every plan. Nobody here carries any of them out."""

    plans: list[PlanState]


async def put_plan(request: PlanRequest, plans: Plans, locks: Locks, clock: Clock) -> PlanState:
    """Write down what a program plans; it is shown, and never executed.

    It takes the place of the plan that the owner had under that name.
    """
    plan = await plans.put(
        request.owner,
        request.name,
        request.when,
        model=request.model,
        duration_s=request.duration_s,
    )
    named = (plan.owner, plan.name)
    others = [other for other in await plans.all() if (other.owner, other.name) != named]
    schedule = await _schedule([*others, plan], await locks.current(), clock.now())
    return schedule.plans[-1]


async def list_plans(request: Empty, plans: Plans, locks: Locks, clock: Clock) -> Schedule:
    """List what programs plan, and where their plans meet each other or the reservation."""
    return await _schedule(await plans.all(), await locks.current(), clock.now())


async def remove_plan(request: PlanName, plans: Plans) -> Empty:
    """Forget a plan."""
    await plans.remove(request.owner, request.name)
    return Empty()


def shown_plans(schedule: Schedule) -> str:
    """A line per plan and conflict, for a terminal."""
    return "\n".join(line for plan in schedule.plans for line in _lines(plan)) or "no plans"


def _lines(plan: PlanState) -> Iterable[str]:
    model = f"  {plan.model}" if plan.model else ""
    yield f"{plan.owner}/{plan.name}  {plan.when}{model}"
    for other in plan.conflicts:
        what = "the reservation of" if other.kind == "reservation" else "the plan"
        at = other.at.isoformat(timespec="minutes")
        yield f"  meets {what} {other.owner}/{other.name} at {at}"


async def _schedule(plans: Sequence[Plan], lock: Lock | None, now: datetime) -> Schedule:
    # Each with each: in a thread, so that nobody waits for it.
    found = await asyncio.to_thread(lambda: list(clashes(plans, lock, now)))
    return Schedule(plans=[_state(plan, found, now) for plan in plans])


def _state(plan: Plan, found: Iterable[Clash], now: datetime) -> PlanState:
    conflicts = [_conflict(clash) for clash in found if clash.plan is plan]
    fields = {name: getattr(plan, name) for name in PlanState.model_fields if hasattr(plan, name)}
    return PlanState(**fields, next_at=next_time(plan, now), conflicts=conflicts)


def _conflict(clash: Clash) -> PlanConflict:
    other = clash.other
    if isinstance(other, Lock):
        return PlanConflict(kind="reservation", owner=other.holder, name=other.reason, at=clash.at)
    return PlanConflict(kind="plan", owner=other.owner, name=other.name, at=clash.at)
