"""What a swap is: what was asked for, how far it is, and the receipt that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

__all__ = [
    "STEPS",
    "Counts",
    "Failure",
    "Memory",
    "Outcome",
    "Phase",
    "Step",
    "Swap",
    "SwapEvent",
]


class Phase(StrEnum):
    """How far a swap is: what was reached last."""

    ADMITTED = "admitted"  #: it is its turn; nothing was touched
    DRAINED = "drained"  #: no request is with the backend, and none gets there
    STOPPED = "stopped"  #: the old model's containers are gone and its port is free
    RELEASED = "released"  #: its memory came back on every machine
    LAUNCHED = "launched"  #: the new model was begun
    LOADING = "loading"  #: its container runs
    READY = "ready"  #: it said its first token


STEPS: Final = tuple(Phase)


class Outcome(StrEnum):
    """How a swap ended."""

    READY = "ready"  #: the model that was asked for answers
    ROLLED_BACK = "rolled_back"  #: it does not; the one before it answers again
    REFUSED = "refused"  #: nothing was touched, and why
    HALTED = "halted"  #: nothing could be launched safely; a person has to look
    FAILED = "failed"  #: no model answers
    CANCELLED = "cancelled"  #: somebody called it off before anything was touched


class Failure(BaseModel, defer_build=True):
    """What went wrong: a stable ``code``, a sentence, and what was seen."""

    code: str
    message: str
    evidence: dict[str, Any] = Field(default_factory=dict)


class Step(BaseModel, defer_build=True):
    """A phase that was reached, and when; ``back`` says that it was on the way back."""

    phase: Phase
    at: datetime
    back: bool = False


class Memory(BaseModel, defer_build=True):
    """What was available on a machine, in bytes, at three moments."""

    before: int | None = None
    comes_back: int | None = Field(
        default=None, description="What the old model was measured to take there."
    )
    empty: int | None = Field(default=None, description="After the old model was gone.")
    after: int | None = Field(default=None, description="When the new one was ready.")


class Counts(BaseModel, defer_build=True):
    """What became of requests: ``lost`` is 0, or the swap was forced."""

    drained: int = Field(default=0, description="In flight at its beginning, and ended well.")
    queued: int = Field(default=0, description="Came meanwhile, waited, and went ahead.")
    refused: int = Field(default=0, description="Came meanwhile and were told to come again.")
    lost: int = Field(default=0, description="Cut off.")


class Swap(BaseModel, defer_build=True):
    """A swap, from its admission to its receipt.

    ``model`` None means that the machines are left empty. While ``outcome`` is None it runs.
    """

    id: str
    host: str
    model: str | None
    previous: str | None = Field(default=None, description="What ran before, if it is known.")
    entry: str = Field(default="", description="A digest of the model's entry in the catalog.")
    phase: Phase = Phase.ADMITTED
    back: bool = Field(default=False, description="On the way back to the model before.")
    outcome: Outcome | None = None
    failure: Failure | None = None
    failure_back: Failure | None = Field(
        default=None, description="Why the model before could not be brought back either."
    )
    serving: str | None = Field(default=None, description="What answers at its end.")
    caller: str = ""
    reason: str = ""
    force: bool = False
    take_over: bool = False
    drain_s: float | None = None
    cancel: bool = False
    created_at: datetime
    ended_at: datetime | None = None
    steps: list[Step] = Field(default_factory=list)
    counts: Counts = Field(default_factory=Counts)
    memory: dict[str, Memory] = Field(default_factory=dict, description="By machine.")
    expected_s: float | None = Field(
        default=None, description="What it is expected to take, from the last ones."
    )
    took_s: float | None = None

    @property
    def launch(self) -> str:
        """The id of the launch that it makes, or makes on the way back."""
        return f"{self.id}-back" if self.back else self.id

    @property
    def target(self) -> str | None:
        """The model that it works towards now."""
        return self.previous if self.back else self.model

    def reached(self, phase: Phase) -> bool:
        """Whether it is at *phase*, or past it, in its present direction."""
        return STEPS.index(self.phase) >= STEPS.index(phase)

    def seconds_to(self, phase: Phase) -> float | None:
        """Seconds from its admission to *phase*, where it got there."""
        for step in self.steps:
            if step.phase is phase and not step.back:
                return (step.at - self.created_at).total_seconds()
        return None


class SwapEvent(BaseModel, defer_build=True):
    """Something that happened in a swap: a phase, a line of the launcher's log, or its end."""

    id: int
    swap: str
    at: datetime
    kind: Literal["phase", "log", "note", "end"]
    text: str = ""
    data: Mapping[str, Any] = Field(default_factory=dict)
