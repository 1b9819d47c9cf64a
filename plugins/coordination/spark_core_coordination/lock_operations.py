"""``/api/swap/lock`` and ``spark swap lock``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from spark_core import Caller, Env
from spark_core.clock import Clock
from spark_core.contracts.gpu import GpuRelease
from spark_core.errors import InvalidRequest, Problem
from spark_core.operations import Empty
from spark_core.state import AuditLog, State

from .lines import Line
from .loans import Gpu, required, seen_by
from .locks import Lock, Locks
from .settings import CoordinationSettings

__all__ = [
    "acquire",
    "open_locks",
    "release",
    "renew",
    "show",
    "shown_state",
    "shown_token",
    "token_fits",
]

Seconds = Annotated[
    float, Field(ge=1, allow_inf_nan=False, description="For how many seconds, from now on.")
]


@asynccontextmanager
async def open_locks(state: State, clock: Clock) -> AsyncIterator[Locks]:
    """The reservation lock in the state."""
    yield Locks(state, clock)


class LockRequest(BaseModel, defer_build=True):
    """A reservation that somebody wants."""

    holder: Line = Field(min_length=1, max_length=200, description="Who reserves it, in one line.")
    ttl_s: Seconds
    reason: Line = Field(default="", max_length=500, description="What for, in one line.")
    release_gpu: bool = Field(
        default=False,
        description="Take the model off the GPU for that time, and bring it back afterwards.",
    )


class ShownToken(BaseModel, defer_build=True):
    """The token that somebody shows."""

    token: Annotated[SecretStr | None, Env("SPARK_LOCK_TOKEN")] = Field(
        default=None,
        description="What the reservation gave. Better in the environment than on a command line.",
    )

    @property
    def text(self) -> str | None:
        """The token itself, None where there is none."""
        return None if self.token is None else self.token.get_secret_value()


class RenewRequest(ShownToken, defer_build=True):
    """A reservation that is to hold longer, or shorter."""

    ttl_s: Seconds


class ReleaseRequest(ShownToken, defer_build=True):
    """A reservation that is over."""

    force: bool = Field(
        default=False, description="Also without the token. This is for a person, and audited."
    )


class Acquired(BaseModel, defer_build=True):
    """A new reservation. The token is shown here and never again."""

    token: str = Field(repr=False)
    expires_at: datetime


class LockState(BaseModel, defer_build=True):
    """Whether it is reserved, by whom, and until when."""

    held: bool
    holder: str | None = None
    reason: str | None = None
    acquired_at: datetime | None = None
    expires_at: datetime | None = None
    release_gpu: bool = False
    gpu: Gpu = Field(
        description="Where the GPU is: `away` when no model is on it any more, for `release_gpu`."
    )
    gpu_error: str | None = Field(
        default=None, description="Why it is not there yet, where that was tried in vain."
    )


async def acquire(
    request: LockRequest, locks: Locks, settings: CoordinationSettings, gpu: GpuRelease | None
) -> Acquired:
    """Reserve the GPU: nobody else can swap its model until the reservation ends.

    The token that it gives is shown when models are swapped, and when the reservation is renewed
    or ended. One that is not renewed ends by itself.
    """
    _check_ttl(request.ttl_s, settings)
    if request.release_gpu:
        required(gpu)
    lock, token = await locks.acquire(
        request.holder, request.ttl_s, reason=request.reason, release_gpu=request.release_gpu
    )
    return Acquired(token=token, expires_at=lock.expires_at)


async def renew(
    request: RenewRequest, locks: Locks, settings: CoordinationSettings, gpu: GpuRelease | None
) -> LockState:
    """Renew the reservation."""
    _check_ttl(request.ttl_s, settings)
    return await _state(await locks.renew(request.text, request.ttl_s), locks, gpu)


async def show(request: Empty, locks: Locks, gpu: GpuRelease | None) -> LockState:
    """Show who has reserved the GPU, and until when."""
    return await _state(await locks.current(), locks, gpu)


async def release(
    request: ReleaseRequest,
    locks: Locks,
    audit: AuditLog,
    caller: Caller,
    gpu: GpuRelease | None,
) -> LockState:
    """End the reservation."""
    if not request.force:
        await locks.release(request.text)
    else:
        ended = await locks.force()
        await audit.record(
            caller.name,
            "swap.lock.force",
            resource=f"lock:{ended.id}",
            detail={"holder": ended.holder, "expires_at": ended.expires_at.isoformat()},
        )
    return await _state(None, locks, gpu)


async def token_fits(request: ShownToken, locks: Locks) -> None:
    """Before anything else of a request is looked at: whether its token is the lock's."""
    await locks.check(request.text)


def shown_token(acquired: Acquired) -> str:
    """The token alone, for ``SPARK_LOCK_TOKEN=$(spark swap lock ...)``."""
    return acquired.token


def shown_state(state: LockState) -> str:
    """A line, for a terminal."""
    error = f", and not yet where it should be: {state.gpu_error}" if state.gpu_error else ""
    if not state.held:
        away = state.gpu != Gpu.HOME
        return "not reserved" + (f"; the GPU is {state.gpu}{error}" if away else "")
    until = state.expires_at.isoformat(timespec="seconds") if state.expires_at else ""
    what = f" ({state.reason})" if state.reason else ""
    where = f"; the GPU is {state.gpu}{error}" if state.release_gpu else ""
    return f"reserved by {state.holder} until {until}{what}{where}"


async def _state(lock: Lock | None, locks: Locks, gpu: GpuRelease | None) -> LockState:
    loan = await locks.loan()
    is_free = gpu is None or loan.gpu != Gpu.AWAY or await gpu.is_free()
    where, error = seen_by(lock, loan, is_free=is_free), loan.error or None
    if lock is None:
        return LockState(held=False, gpu=where, gpu_error=error)
    return LockState(
        held=True,
        holder=lock.holder,
        reason=lock.reason,
        acquired_at=lock.acquired_at,
        expires_at=lock.expires_at,
        release_gpu=lock.release_gpu,
        gpu=where,
        gpu_error=error,
    )


def _check_ttl(ttl_s: float, settings: CoordinationSettings) -> None:
    if ttl_s > settings.lock_max_ttl_s:
        detail = f"at most {settings.lock_max_ttl_s:g} seconds are allowed; renew it on the way"
        raise InvalidRequest(f"ttl_s: {detail}", problems=[Problem("/ttl_s", detail)])
