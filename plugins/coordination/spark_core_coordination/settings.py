"""``[plugins.coordination]``"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from spark_core import Section

__all__ = ["CoordinationSettings", "EventKind", "Webhook", "key_of"]

#: What a secret begins with whose bytes are given in base64, as Standard Webhooks has it.
PREFIX: Final = "whsec_"


class EventKind(StrEnum):
    """What receivers can be told of."""

    SWAP_COMPLETE = "swap_complete"
    SWAP_FAILED = "swap_failed"
    SWAP_ROLLED_BACK = "swap_rolled_back"
    LOCK_ACQUIRED = "lock_acquired"
    LOCK_RELEASED = "lock_released"
    LOCK_EXPIRED = "lock_expired"
    LOCK_FORCED = "lock_forced"
    OUTAGE_BEGAN = "outage_began"
    OUTAGE_ENDED = "outage_ended"


def key_of(secret: str) -> bytes:
    """The bytes that *secret* stands for in Standard Webhooks.

    :raises ValueError: it says that it is base64, and is not.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {PREFIX} is not base64") from None


def _of_a_receiver(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    parts = urlsplit(text)
    _ = parts.port  # raises where it is none
    if not re.fullmatch(r"https?://[!-~]+", text) or not parts.hostname:
        raise ValueError("it must be like https://host/path")
    return url


def _usable(secret: SecretStr) -> SecretStr:
    if len(key_of(secret.get_secret_value())) < 16:
        raise ValueError("a secret has at least 16 bytes")
    return secret


class Webhook(Section):
    """Somebody who is told what happens."""

    url: Annotated[SecretStr, AfterValidator(_of_a_receiver)] = Field(
        description="Where events are sent to. It may hold a secret, so it is never shown."
    )
    name: str = Field(
        default="",
        max_length=100,
        pattern=r"^[\w.-]*$",
        description="What it is called in lists and logs; by default made of the host's name.",
    )
    secrets: list[Annotated[SecretStr, AfterValidator(_usable)]] = Field(
        default=[],
        max_length=2,
        description="What events are signed with; two while one takes the other's place. "
        "The bytes themselves, or `whsec_` and base64.",
    )
    events: list[EventKind] = Field(
        default=[EventKind.SWAP_COMPLETE, EventKind.SWAP_FAILED, EventKind.SWAP_ROLLED_BACK],
        description="Of what it is told.",
    )

    @property
    def called(self) -> str:
        """Its name; without one its host, and enough to tell two of a host apart."""
        url = self.url.get_secret_value()
        digest = hashlib.sha256(url.encode()).hexdigest()
        return self.name or f"{urlsplit(url).hostname}-{digest[:6]}"


def _apart(webhooks: list[Webhook]) -> list[Webhook]:
    names = Counter(webhook.called for webhook in webhooks)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"two are called {twice[0]}")
    return webhooks


class CoordinationSettings(Section):
    """``[plugins.coordination]``: how long reservations may be, and who is told what happens."""

    lock_max_ttl_s: float = Field(
        default=86400.0,
        ge=1,
        allow_inf_nan=False,
        description="The longest time, in seconds, for which a reservation is made or renewed.",
    )
    webhooks: Annotated[list[Webhook], AfterValidator(_apart)] = Field(
        default=[], max_length=32, description="Who is told what happens."
    )
    webhook_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="How many seconds a receiver has to take an event.",
    )
    webhook_give_up_s: float = Field(
        default=86400.0,
        ge=0,
        allow_inf_nan=False,
        description="For how many seconds an event is sent again that was not taken.",
    )
