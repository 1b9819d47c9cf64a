"""Tells one receiver what happened, one thing after the other.

It imports httpx: import it where a receiver is opened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx

from spark_core.clock import Clock
from spark_core.errors import SettingsError
from spark_core.http_client import Retries, open_client

from .outbox import Delivery, Outbox
from .settings import CoordinationSettings, Webhook
from .signing import body_of, headers_of

__all__ = ["Receiver", "open_receiver"]

#: Seconds to the second try, and at most to the next one.
FIRST, LONGEST = 5.0, 3600.0

log = logging.getLogger(__name__)


class _NotTaken(Exception):
    """The receiver did not take it: why, and how many seconds it asks to be left alone."""

    def __init__(self, reason: str, asked: str | None = None) -> None:
        super().__init__(reason)
        self.asked = asked


@dataclass
class Receiver:
    """A receiver: told the oldest thing first, and nothing else until that is taken or given up.

    *random* is between 0 and 1: receivers that failed together are not all asked together again.
    """

    webhook: Webhook
    outbox: Outbox
    client: httpx.AsyncClient
    clock: Clock
    timeout_s: float
    give_up_s: float
    random: Callable[[], float] = random.random

    async def tell(self) -> bool:
        """Send the next thing, if one is due; gives whether it was."""
        delivery = await self.outbox.next(self.webhook.called)
        if delivery is None:
            return False
        try:
            await self._send(delivery)
        except _NotTaken as failure:
            await self._failed(delivery, failure)
        else:
            await self.outbox.delivered(delivery)
        return True

    async def _send(self, delivery: Delivery) -> None:
        body = body_of(delivery)
        headers = headers_of(self.webhook, delivery, body, self.clock.now())
        url = httpx.URL(self.webhook.url.get_secret_value())
        try:
            async with (
                asyncio.timeout(self.timeout_s),
                self.client.stream("POST", url, content=body, headers=headers) as answer,
            ):
                # What it says is not read: the status is all that counts. A redirect is none.
                if not answer.is_success:
                    asked = answer.headers.get("retry-after")
                    raise _NotTaken(f"status {answer.status_code}", asked)
        except TimeoutError:
            raise _NotTaken(f"no answer within {self.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            kind = type(error).__name__
            certificate = "CERTIFICATE_VERIFY_FAILED" in str(error)
            raise _NotTaken("its certificate cannot be verified" if certificate else kind) from None

    async def _failed(self, delivery: Delivery, failure: _NotTaken) -> None:
        now = self.clock.now()
        due_at = now + timedelta(seconds=self._pause(delivery.attempts, failure.asked))
        if due_at > delivery.begun_at + timedelta(seconds=self.give_up_s):
            await self.outbox.give_up(delivery, str(failure))
            what = "is given up"
        else:
            await self.outbox.failed(delivery, str(failure), due_at)
            what = f"is sent again at {due_at.isoformat(timespec='seconds')}"
        who = self.webhook.called
        log.warning("%s to receiver %s %s: %s", delivery.kind, who, what, failure)

    def _pause(self, attempts: int, asked: str | None) -> float:
        """Seconds until the next try after *attempts* that failed before this one."""
        backoff = min(FIRST * 2.0 ** min(attempts, 20), LONGEST)
        backoff *= 0.75 + 0.5 * self.random()
        return max(backoff, min(Retries(clock=self.clock).seconds(asked), LONGEST))


@asynccontextmanager
async def open_receiver(
    webhook: Webhook, outbox: Outbox, clock: Clock, settings: CoordinationSettings
) -> AsyncIterator[Receiver]:
    """A receiver with a client of its own, so that no other one's connections are in its way.

    :raises SettingsError: its address is none.
    """
    timeout_s, give_up_s = settings.webhook_timeout_s, settings.webhook_give_up_s
    try:
        url = httpx.URL(webhook.url.get_secret_value())
    except httpx.InvalidURL:  # nor is it shown: it may hold a secret
        raise SettingsError(f"the url of receiver {webhook.called} cannot be used") from None
    origin = str(url.copy_with(raw_path=b"/", fragment=None))
    async with open_client(origin, timeout=timeout_s) as client:
        yield Receiver(webhook, outbox, client, clock, timeout_s, give_up_s)
