"""``/api/swap`` and ``spark swap``: beginning swaps, looking at them, calling them off."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
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


log = logging.getLogger(__name__)


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

    model: str = Field(description="A model of the catalog; for none, see swap.unload.")


async def swap_allowed(request: ShownToken, swaps: Swaps) -> None:
    """Fail where a swap may not begin, whatever the rest of the request says."""
    await swaps.allowed(request.text)


async def swap(
    request: SwapRequest, swaps: Swaps, caller: Caller, progress: Progress
) -> AsyncGenerator[SwapEvent | Swap, None]:
    """Swap the model that is loaded for another one.

    The answer comes at once, with the id of the swap; with ``wait`` it comes at its end, and
    what happens is told meanwhile. So it is where no server runs that could work on the swap:
    then it is worked on here.
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
        if await swaps.hosted():
            return
    until = None if request.wait else swaps.hosted
    async with aclosing(_told(swaps, begun.id, progress, until=until)) as told:
        async for event in told:
            yield event
    ended = await swaps.history.find(begun.id)
    is_left = until is not None and await until()  # to a server: then it was only to be begun
    yield ended if is_left else _successful(ended)


async def _told(
    swaps: Swaps,
    swap_id: str,
    progress: Progress,
    after: int = 0,
    until: Callable[[], Awaitable[bool]] | None = None,
) -> AsyncGenerator[SwapEvent, None]:
    """What happens in a swap, which is worked on here where no host does that."""
    following = swaps.follow(swap_id, after, until=until)
    async with _attended(swaps, swap_id), aclosing(following):
        async for event in following:
            if event.kind == "phase":
                done = [step.value for step in STEPS].index(event.text)
                progress.update(event.text, done=done, total=len(STEPS) - 1, unit="phases")
            yield event


@asynccontextmanager
async def _attended(swaps: Swaps, swap_id: str) -> AsyncIterator[None]:
    """While the block runs, the swap goes on; whoever breaks it off is told how it does then."""
    try:
        async with swaps.attended():
            yield
    except CancelledError:
        if not await swaps.hosted():
            log.warning(
                "swap %s has not ended; it goes on when a server runs, or with: "
                "spark swaps events %s",
                swap_id,
                swap_id,
            )
        raise


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


class CancelRequest(SwapId, ShownToken, defer_build=True):
    """Which swap, and the token of the reservation."""


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
    """Follow a swap: its phases, and the launcher's log as it comes.

    Where no server runs that could work on the swap, it is worked on here meanwhile.
    """
    async with aclosing(_told(swaps, request.id, progress, request.after)) as told:
        async for event in told:
            yield event


async def call_off(request: CancelRequest, swaps: Swaps) -> Swap:
    """Call a swap off: nothing is changed any more, or the model before is brought back.

    It needs what a swap needs: while the GPU is reserved, the token. Where no server runs that
    could bring the model back, that is done here, and the answer comes at the end.
    """
    await swaps.allowed(request.text)
    called = await swaps.history.call_off(request.id)
    if await swaps.hosted():
        return called
    async with _attended(swaps, request.id):
        async for _ in swaps.follow(request.id, until=swaps.hosted):
            pass
    return await swaps.history.find(request.id)


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
