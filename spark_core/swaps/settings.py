"""``[swaps]``"""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from ..settings import ConfigPath, Env, Section

__all__ = ["Day", "OnDemand", "SwapSettings", "Timeslot"]

#: What a request for a model that is not loaded does: nothing, wait for it, or be refused.
OnDemand: TypeAlias = Literal["never", "wait", "reject"]

Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _timezone(name: str) -> str:
    """*name*, where this machine knows it; UTC needs no table of time zones."""
    try:
        if name != "UTC":
            ZoneInfo(name)
    except (ValueError, OSError):  # it is none, or looks like a path to something else
        raise ValueError("is no time zone that is known here, such as Europe/Prague") from None
    return name


class Timeslot(Section):
    """One of several: ``[[swaps.timetable]]``. It ends on the next day where ``to`` is earlier."""

    model: str
    begins: time = Field(alias="from", description="HH:MM")
    ends: time = Field(alias="to", description="HH:MM")
    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)


class SwapSettings(Section):
    """``[swaps]``: which models there are, and how one takes another's place."""

    catalog: Annotated[ConfigPath, Env("MODELS_YAML")] = Field(
        default=Path("models.yaml"), description="The models that can be loaded."
    )
    overrides: ConfigPath | None = Field(
        default=None,
        description="What `spark models add` and `remove` write; `models-overrides.yaml` in the "
        "data directory.",
    )
    default: str | None = Field(default=None, description="The model that is there by default.")
    drain_s: float = Field(
        default=120.0, ge=0, le=3600, description="How long requests in flight may take to end."
    )
    release_s: float = Field(
        default=60.0, gt=0, le=3600, description="How long memory may take to come back."
    )
    memory_margin_gib: float = Field(
        default=6.0, ge=0, description="What must stay free beside a model, on each machine."
    )
    memory_tolerance_gib: float = Field(
        default=2.0, ge=0, description="How much less may come back than was there before."
    )
    arriving: Literal["wait", "refuse"] = Field(
        default="wait", description="What requests do that come during a swap."
    )
    on_demand: OnDemand = Field(
        default="never",
        description="What a request for a model that is not loaded does, where its entry does "
        "not say: be told that it is not there, wait until it is, or be told when to come again.",
    )
    max_wait_s: float = Field(
        default=300.0, gt=0, le=3600, description="How long a model may be waited for."
    )
    min_residency_s: float = Field(
        default=120.0, ge=0, description="How long a model stays before another takes its place."
    )
    idle_s: float | None = Field(
        default=None, gt=0, description="After how long without requests the default returns."
    )
    timetable: tuple[Timeslot, ...] = Field(
        default=(), description="Which model is there when: model, from, to (HH:MM) and days."
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        default="UTC", description="The time zone of the timetable."
    )
