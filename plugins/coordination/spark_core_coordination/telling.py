"""The background service that tells receivers what happens: each at its own pace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from spark_core.clock import Clock
from spark_core.errors import SettingsError, SparkError
from spark_core.gateway.outages import OutageLog
from spark_core.swaps.history import SwapHistory

from .locks import Locks
from .outbox import Outbox
from .settings import CoordinationSettings, Webhook
from .sources import LockSource, OutageSource, Source, SwapSource

__all__ = ["tell_receivers"]

#: Seconds between two looks, and after the state was away.
LOOK, AFTER_FAILURE = 1.0, 5.0

log = logging.getLogger(__name__)


async def tell_receivers(
    settings: CoordinationSettings,
    outbox: Outbox,
    clock: Clock,
    locks: Locks,
    outages: OutageLog | None,
    swaps: SwapHistory | None,
) -> None:
    """Take in what happens, and tell those who want to know; for ever."""
    if not settings.webhooks:
        await outbox.forget()
        await asyncio.Event().wait()
    sources: list[Source] = [LockSource(locks)]
    sources += [OutageSource(outages, clock)] if outages is not None else []
    sources += [SwapSource(swaps)] if swaps is not None else []
    await outbox.give_up_others(webhook.called for webhook in settings.webhooks)
    async with asyncio.TaskGroup() as group:
        for source in sources:
            await outbox.catch_up(source, settings.webhooks)
            group.create_task(_for_ever(_collecting(outbox, source, settings.webhooks)))
        for webhook in settings.webhooks:
            group.create_task(_tell(webhook, outbox, clock, settings))


async def _tell(
    webhook: Webhook, outbox: Outbox, clock: Clock, settings: CoordinationSettings
) -> None:
    from .delivering import open_receiver  # only here: httpx takes long to import

    try:
        async with open_receiver(webhook, outbox, clock, settings) as receiver:
            await _for_ever(receiver.tell)
    except SettingsError as error:
        log.error("%s", error.message)


def _collecting(
    outbox: Outbox, source: Source, webhooks: Sequence[Webhook]
) -> Callable[[], Awaitable[bool]]:
    return lambda: outbox.collect(source, webhooks)


async def _for_ever(step: Callable[[], Awaitable[bool]]) -> None:
    """Take *step* after *step*, with a pause after one that found nothing to do."""
    while True:
        pause: float = LOOK
        try:
            if await step():
                continue
        except SparkError as error:
            log.warning("events are late: %s", error.code)
            pause = AFTER_FAILURE
        await asyncio.sleep(pause)
