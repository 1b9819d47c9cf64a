"""Every error that spark_core and its plugins raise on purpose.

::

    SparkError
    ├── SettingsError          a setting is wrong: which one, where, and what is allowed
    │   └── NotConfigured      nothing is wrong, but this needs a setting first
    ├── PluginError            a plugin cannot be loaded, or two of them clash
    ├── InvalidRequest         the caller asked for something that cannot be (see ``problems``)
    │   └── UnknownChoice      what was named is none of what there is to choose from
    ├── NotFound               what was named does not exist
    ├── Conflict               what was asked for clashes with what is going on
    │   ├── LeaseHeld          somebody else holds the lease
    │   ├── LeaseLost          the lease went to somebody else meanwhile
    │   └── Locked             somebody reserved it
    ├── Forbidden              who asks has not shown that they may
    │   └── Unauthenticated    who asks has not said who they are
    ├── SourceError            a record source cannot be read
    ├── BackendError           a backend answered, but not what its contract promises
    ├── Unavailable            a backend cannot be reached just now (see ``retry_after``)
    │   ├── TimedOut           it can be reached, but did not answer in time
    │   └── DetectionFailed    nobody can say what is private in a text, so it does not leave
    └── StorageFull            there is no room left to write durably

Vendor exceptions are translated into this tree where a plugin meets the vendor.
The message says what happened and where; ``hint`` says what to do about it.
Neither ever holds a secret or a piece of somebody's text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = [
    "BackendError",
    "Conflict",
    "DetectionFailed",
    "Forbidden",
    "InvalidRequest",
    "LeaseHeld",
    "LeaseLost",
    "Locked",
    "NotConfigured",
    "NotFound",
    "PluginError",
    "Problem",
    "SettingsError",
    "SourceError",
    "SparkError",
    "StorageFull",
    "TimedOut",
    "Unauthenticated",
    "Unavailable",
    "UnknownChoice",
]


class SparkError(Exception):
    """The root: catch this to catch everything that is raised on purpose."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        """The error's stable name in answers, such as ``not-found``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(SparkError):
    """A setting is wrong: which one, where, and what is allowed."""


class NotConfigured(SettingsError):
    """Nothing is wrong, but what was asked for needs a setting first."""


class PluginError(SparkError):
    """A plugin cannot be loaded, or two of them clash."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a request.

    ``pointer`` is a JSON pointer (RFC 6901) into the request, ``""`` for the whole of it.
    """

    pointer: str
    detail: str


class InvalidRequest(SparkError):
    """The caller asked for something that cannot be; ``problems`` says where."""

    def __init__(
        self, message: str, *, problems: Sequence[Problem] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class UnknownChoice(InvalidRequest):
    """What was named is none of what there is to choose from, which the message lists."""


class NotFound(SparkError):
    """What was named does not exist."""


class Conflict(SparkError):
    """What was asked for clashes with what is going on."""


class LeaseHeld(Conflict):
    """Somebody else holds the lease."""


class LeaseLost(Conflict):
    """The lease went to somebody else, so its former holder must do nothing more."""


class Locked(Conflict):
    """Somebody reserved it: ``holder`` says who, and ``expires_at`` until when, where known."""

    def __init__(
        self,
        message: str,
        *,
        holder: str | None = None,
        expires_at: datetime | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder
        self.expires_at = expires_at


class Forbidden(SparkError):
    """Who asks has not shown that they may: a token is missing or wrong."""


class Unauthenticated(Forbidden):
    """Who asks has not said who they are, and only those who do may."""


class SourceError(SparkError):
    """A record source cannot be read, or does not hold what its mapping says."""


class BackendError(SparkError):
    """A backend answered, but not what its contract promises."""


class Unavailable(SparkError):
    """A backend cannot be reached just now; ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, retry_after: float = 5.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TimedOut(Unavailable):
    """A backend can be reached, but did not answer in time."""


class DetectionFailed(Unavailable):
    """Nobody can say what is private in a text, so it does not leave; ``detector`` failed."""

    def __init__(
        self,
        message: str,
        *,
        detector: str = "",
        retry_after: float = 5.0,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, hint=hint)
        self.detector = detector


class StorageFull(SparkError):
    """There is no room left to write durably; nothing that was acknowledged is lost."""
