"""``/api/webhooks`` and ``spark webhooks``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from pydantic import BaseModel, Field

from spark_core.clock import Clock
from spark_core.operations import Empty
from spark_core.state import State

from .outbox import DEAD, PENDING, Outbox
from .settings import CoordinationSettings, EventKind

__all__ = ["drop", "list_dead", "list_receivers", "open_outbox", "retry"]


@asynccontextmanager
async def open_outbox(state: State, clock: Clock) -> AsyncIterator[Outbox]:
    """The outbox in the state."""
    yield Outbox(state, clock)


class ReceiverState(BaseModel, defer_build=True):
    """Somebody who is told what happens. Where it listens is not shown: that may be a secret."""

    name: str
    events: list[EventKind]
    signed: bool
    pending: int = Field(description="How many events it did not take yet.")
    dead: int = Field(description="How many were given up.")


class ReceiverList(BaseModel, defer_build=True):
    """Everybody who is told what happens."""

    receivers: list[ReceiverState]


class DeadLetter(BaseModel, defer_build=True):
    """An event that a receiver did not take, and that is not sent again."""

    id: str
    receiver: str
    kind: str
    at: datetime
    attempts: int
    error: str
    ended_at: datetime | None


class DeadLetters(BaseModel, defer_build=True):
    """What was given up, the oldest first. It is kept for 30 days."""

    dead: list[DeadLetter]


class DeadQuery(BaseModel, defer_build=True):
    """How many to list."""

    limit: int = Field(default=100, ge=1, le=1000)


class DeliveryId(BaseModel, defer_build=True):
    """One that was given up."""

    id: str = Field(max_length=40, description="The delivery's id, as in the list of the dead.")


async def list_receivers(
    request: Empty, outbox: Outbox, settings: CoordinationSettings
) -> ReceiverList:
    """List who is told what happens, and how far behind each is."""
    counts = await outbox.counts()
    return ReceiverList(
        receivers=[
            ReceiverState(
                name=webhook.called,
                events=webhook.events,
                signed=bool(webhook.secrets),
                pending=counts.get((webhook.called, PENDING), 0),
                dead=counts.get((webhook.called, DEAD), 0),
            )
            for webhook in settings.webhooks
        ]
    )


async def list_dead(request: DeadQuery, outbox: Outbox) -> DeadLetters:
    """List the events that were given up."""
    fields = DeadLetter.model_fields
    letters = await outbox.dead(limit=request.limit)
    return DeadLetters(
        dead=[DeadLetter(**{field: getattr(d, field) for field in fields}) for d in letters]
    )


async def retry(request: DeliveryId, outbox: Outbox) -> Empty:
    """Send an event again that was given up, with the same delivery id."""
    await outbox.retry(request.id)
    return Empty()


async def drop(request: DeliveryId, outbox: Outbox) -> Empty:
    """Forget an event that was given up."""
    await outbox.drop(request.id)
    return Empty()
