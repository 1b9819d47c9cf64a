"""``/api/swap`` and ``spark swap``: beginning swaps, looking at them, calling them off."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from ..errors import BackendError, SparkError
from ..operations import Empty, Progress
from ..settings import Env
from ..spark import Caller
from .driving import Swaps
from .models import STEPS, Outcome, Swap, SwapEvent

__all__ = [
    "call_off",
    "events",
    "list_swaps",
    "show",
    "shown",
    "status",
    "swap",
    "swap_allowed",
    "unload",
]


class ShownToken(BaseModel, defer_build=True):
    """The token of a reservation, if one is shown."""

    token: Annotated[SecretStr | None, Env("SPARK_LOCK_TOKEN")] = Field(
        default=None,
        description="That of the reservation. Better in the environment than on a command line.",
    )

    @property
    def text(self) -> str | None:
        """The token itself."""
        return self.token.get_secret_value() if self.token is not None else None


class UnloadRequest(ShownToken, defer_build=True):
    """That no model is to be loaded."""

    wait: bool = Field(default=False, description="Answer when it has ended, not at once.")
    reason: str = Field(default="", max_length=500, description="What for, in one line.")
    drain_s: float | None = Field(
        default=None, ge=0, le=3600, description="How long requests in flight may take to end."
    )
    force: bool = Field(
        default=False,
        description="Do it although memory may not suffice, and cut off what is not drained.",
    )
    take_over: bool = Field(
        default=False, description="Stop what runs there although it was not started from here."
    )


class SwapRequest(UnloadRequest, defer_build=True):
    """A model that is to take the place of the one that is loaded."""

    model: str = Field(description="A model of the catalog.")


async def swap_allowed(request: ShownToken, swaps: Swaps) -> None:
    """Fail where a swap may not begin, whatever the rest of the request says."""
    await swaps.allowed(request.text)


async def swap(
    request: SwapRequest, swaps: Swaps, caller: Caller, progress: Progress
) -> AsyncGenerator[SwapEvent | Swap, None]:
    """Swap the model that is loaded for another one.

    The answer comes at once, with the id of the swap; with ``wait`` it comes at its end, and
    what happens is told meanwhile.
    """
    async with aclosing(_begun(request.model, request, swaps, caller, progress)) as told:
        async for each in told:
            yield each


async def unload(
    request: UnloadRequest, swaps: Swaps, caller: Caller, progress: Progress
) -> AsyncGenerator[SwapEvent | Swap, None]:
    """Take the model off the GPU, and leave it empty."""
    async with aclosing(_begun(None, request, swaps, caller, progress)) as told:
        async for each in told:
            yield each


async def _begun(
    model: str | None, request: UnloadRequest, swaps: Swaps, caller: Caller, progress: Progress
) -> AsyncGenerator[SwapEvent | Swap, None]:
    begun = await swaps.begin(
        model,
        caller=caller.name,
        token=request.text,
        reason=request.reason,
        force=request.force,
        take_over=request.take_over,
        drain_s=request.drain_s,
    )
    if not request.wait:
        yield begun
        return
    async with swaps.attended():
        async for event in _told(swaps, begun.id, progress):
            yield event
    yield _successful(await swaps.history.find(begun.id))


async def _told(
    swaps: Swaps, swap_id: str, progress: Progress, after: int = 0
) -> AsyncGenerator[SwapEvent, None]:
    async with aclosing(swaps.follow(swap_id, after)) as following:
        async for event in following:
            if event.kind == "phase":
                done = [step.value for step in STEPS].index(event.text)
                progress.update(event.text, done=done, total=len(STEPS) - 1, unit="phases")
            yield event


def _successful(ended: Swap) -> Swap:
    """*ended*, if the model that was asked for is ready.

    :raises BackendError: it is not.
    """
    if ended.outcome is Outcome.READY:
        return ended
    raise BackendError(f"swap {ended.id}: {shown(ended)}")


class SwapId(BaseModel, defer_build=True):
    """Which swap."""

    id: str


class EventsRequest(SwapId, defer_build=True):
    """Which swap, and from where on."""

    after: int = Field(default=0, ge=0, description="The last event that is known already.")


class SwapStatus(BaseModel, defer_build=True):
    """What is swapped now, and what was swapped last."""

    host: str | None = Field(description="The model host; null where none is configured.")
    model: str | None = Field(description="What answers now, as far as is known.")
    running: Swap | None
    last: Swap | None


class SwapList(BaseModel, defer_build=True):
    """Swaps, the newest first."""

    swaps: Sequence[Swap]


class ListRequest(BaseModel, defer_build=True):
    """How many."""

    limit: int = Field(default=20, ge=1, le=500)


async def status(request: Empty, swaps: Swaps) -> SwapStatus:
    """Say whether a swap runs, how far it is, and how the last one ended."""
    newest = await swaps.history.newest(limit=2)
    running = next((s for s in newest if s.outcome is None), None)
    last = next((s for s in newest if s.outcome is not None), None)
    return SwapStatus(
        host=swaps.host, model=last.serving if last else None, running=running, last=last
    )


async def list_swaps(request: ListRequest, swaps: Swaps) -> SwapList:
    """List swaps, the newest first."""
    return SwapList(swaps=await swaps.history.newest(limit=request.limit))


async def show(request: SwapId, swaps: Swaps) -> Swap:
    """Show a swap: how far it is, or its receipt."""
    return await swaps.history.find(request.id)


async def events(
    request: EventsRequest, swaps: Swaps, progress: Progress
) -> AsyncIterator[SwapEvent]:
    """Follow a swap: its phases, and the launcher's log as it comes."""
    async with aclosing(_told(swaps, request.id, progress, request.after)) as told:
        async for event in told:
            yield event


async def call_off(request: SwapId, swaps: Swaps) -> Swap:
    """Call a swap off: nothing is changed any more, or the model before is brought back."""
    return await swaps.history.call_off(request.id)


def shown(swap: Swap | SwapEvent | SparkError) -> str:
    """A swap in one sentence."""
    if not isinstance(swap, Swap):
        return swap.text if isinstance(swap, SwapEvent) else str(swap)
    model = swap.model or "nothing"
    if swap.outcome is None:
        expected = f", about {swap.expected_s:.0f} s" if swap.expected_s else ""
        return f"{model}: {swap.phase} (swap {swap.id}{expected})"
    took = f" after {swap.took_s:.0f} s" if swap.took_s is not None else ""
    serving = f"; {swap.serving or 'no model'} answers"
    why = f": {swap.failure.message}" if swap.failure else ""
    back = (
        f"; the model before did not come back: {swap.failure_back.message}"
        if (swap.failure_back)
        else ""
    )
    return f"{model}: {swap.outcome.replace('_', ' ')}{took}{why}{back}{serving}"
