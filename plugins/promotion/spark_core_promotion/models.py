"""What a promotion is: what was asked for, how far it is, and the receipt that it leaves."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, Field

from .settings import Plan

__all__ = [
    "STEPS",
    "Broken",
    "Event",
    "Failure",
    "Mark",
    "Options",
    "Outcome",
    "Phase",
    "Promotion",
    "Step",
]


class Phase(StrEnum):
    """How far a promotion is: what was reached last."""

    ADMITTED = "admitted"  #: it is its turn; nothing was touched
    BUILT = "built"  #: the binary was made anew
    CHECKED = "checked"  #: the binary, the nodes, the service and its consumers are as they must be
    BACKED_UP = "backed_up"  #: on every node there is a copy of the old binary, compared
    COPIED = "copied"  #: on every node the new binary lies beside the old one, compared
    INSTALLED = "installed"  #: the new one is in the old one's place
    RESTARTED = "restarted"  #: the service was told to begin anew
    BOUND = "bound"  #: the new server serves
    RESTORED = "restored"  #: the start period is the normal one, and it serves again
    CONSUMERS = "consumers"  #: the consumers were begun anew, and run
    VERIFIED = "verified"  #: every query was answered as it must be
    RETURNING = "returning"  #: it is being taken back
    RETURNED = "returned"  #: the old binary is in its place
    SERVING = "serving"  #: the old server serves


STEPS: Final = tuple(Phase)


class Outcome(StrEnum):
    """How a promotion ended."""

    READY = "ready"  #: the new binary is in place, and what was asked for was done
    ROLLED_BACK = "rolled_back"  #: the old binary is in place and serves
    REFUSED = "refused"  #: nothing was changed, and why
    HALTED = "halted"  #: it stopped where it is; it can go on, or be taken back


class Options(BaseModel, defer_build=True):
    """What is to be done beside shipping."""

    build: bool = Field(default=False, description="Make the binary first.")
    verify: bool = Field(default=False, description="Ask the plan's queries at the end.")
    no_restart: bool = Field(default=False, description="Only put the binary in place.")
    restart_consumers: bool = Field(default=False, description="Restart its consumers, too.")
    health_start_period: int | None = Field(
        default=None, ge=1, le=10**9, description="Seconds for which health checks may fail."
    )
    migrate: bool = Field(
        default=False,
        description="The server migrates its data at first: health checks may fail for longer "
        "(600 s, unless --health-start-period says otherwise).",
    )
    restore_health_period: bool = Field(
        default=False, description="Set the normal start period again when the server serves."
    )


class Failure(BaseModel, defer_build=True):
    """What went wrong: a stable ``code``, and a sentence."""

    code: str
    message: str


class Broken(Exception):
    """This did not work: ``failure`` says why. What ``stops`` is not taken back by itself."""

    def __init__(self, code: str, message: str, *, stops: bool = False) -> None:
        super().__init__(message)
        self.failure = Failure(code=code, message=message)
        self.stops = stops


class Mark(BaseModel, defer_build=True):
    """A service before it was changed: so whoever goes on knows whether it was."""

    forced: int = Field(description="How often it had been forced to begin anew.")
    tasks: list[str] = Field(description="The tasks that it had.")
    start_period_s: float | None = None


class Step(BaseModel, defer_build=True):
    """A phase that was reached, and when."""

    phase: Phase
    at: datetime


class Promotion(BaseModel, defer_build=True):
    """A promotion, from its admission to its receipt. While ``outcome`` is None it runs."""

    id: str
    plan: str
    declared: Plan = Field(exclude=True)
    options: Options = Field(default_factory=Options)
    phase: Phase = Phase.ADMITTED
    outcome: Outcome | None = None
    failure: Failure | None = None
    failure_back: Failure | None = Field(
        default=None, description="Why it could not be taken back either."
    )
    back: bool = Field(default=False, description="It is being taken back, or was.")
    asked_back: bool = Field(default=False, description="Somebody asked for that.")
    digest: str = Field(default="", description="The SHA-256 of the new binary.")
    size: int = 0
    old: dict[str, str] = Field(
        default_factory=dict, description="The SHA-256 of the old binary, by node."
    )
    ids: dict[str, str] = Field(default_factory=dict, description="What swarm calls each node.")
    backup: str = Field(default="", description="Where the old binary is kept, on each node.")
    marks: dict[str, Mark] = Field(default_factory=dict)
    container: str = Field(default="", description="The container that serves.")
    caller: str = ""
    created_at: datetime
    ended_at: datetime | None = None
    took_s: float | None = None
    steps: list[Step] = Field(default_factory=list)

    def reached(self, phase: Phase) -> bool:
        """Whether it is at *phase*, or past it."""
        return STEPS.index(self.phase) >= STEPS.index(phase)

    @property
    def touched(self) -> bool:
        """Whether some destination may be another one than before."""
        return any(step.phase is Phase.COPIED for step in self.steps)


class Event(BaseModel, defer_build=True):
    """Something that happened: a phase, a note, a line of a log, what would be done, or the end."""

    id: int = 0
    at: datetime
    kind: Literal["phase", "note", "log", "plan", "end"]
    text: str
