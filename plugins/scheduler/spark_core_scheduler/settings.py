"""``[plugins.scheduler]``"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, SecretStr, model_validator

from spark_core import Section
from spark_core.schedules import parse, zone

__all__ = [
    "JobSettings",
    "Method",
    "Name",
    "SchedulerSettings",
    "Token",
    "of_the_grammar",
    "of_the_web",
]

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


def of_the_grammar(text: str) -> str:
    """*text*, if it is a schedule.

    :raises ValueError: it is none.
    """
    parse(text)
    return text


def _zone(text: str) -> str:
    zone(text)
    return text


def of_the_web(text: str) -> str:
    """*text*, if it is a url that a call may go to.

    :raises ValueError: it is none, or holds a password; it is not shown.
    """
    parts = urlsplit(text)
    _ = parts.port  # raises where it is none
    if not re.fullmatch(r"https?://[!-~]+", text) or not parts.hostname or parts.username:
        raise ValueError("it must be like https://host/path; a secret is given as `token`")
    return text


def _stripped(token: SecretStr) -> SecretStr:
    text = token.get_secret_value().strip()
    if any(ord(sign) < 32 for sign in text):
        raise ValueError("a token is one line")
    return SecretStr(text)


#: A bearer token. Who checks one strips it, so whoever sends it does.
Token = Annotated[SecretStr, AfterValidator(_stripped)]

#: The name of a job: it stands in paths and in headers.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$")]

#: The longest schedule and name of a zone, in characters: so much the book takes.
LONGEST, LONGEST_ZONE = 400, 64


class JobSettings(Section):
    """A job: an operation or an HTTP call. With neither it changes a plugin's job of its name."""

    schedule: Annotated[str, AfterValidator(of_the_grammar)] | None = Field(
        default=None,
        max_length=LONGEST,
        description="`every 15m`, `daily 07:00,13:00` or `cron ...`.",
    )
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        default=None,
        max_length=LONGEST_ZONE,
        description="Whose times the schedule means, by default UTC's.",
    )
    timeout_s: float | None = Field(
        default=None, gt=0, le=7 * 86400, description="How long a run may take; by default 600."
    )
    enabled: bool = Field(default=True, description="Whether it runs at all.")
    operation: str | None = Field(default=None, description="The operation that is run.")
    request: dict[str, Any] = Field(default={}, description="The operation's request.")
    url: Annotated[str, AfterValidator(of_the_web)] | None = Field(
        default=None, description="Where an HTTP call goes to."
    )
    method: Method = Field(default="POST", description="How it calls.")
    body: JsonValue = Field(default=None, description="What it sends, as JSON.")
    token: Token | None = Field(default=None, description="The bearer token that it shows.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> JobSettings:
        if self.operation and self.url:
            raise ValueError("a job is an operation or a url, not both")
        if (self.operation or self.url) and not self.schedule:
            raise ValueError("its schedule is missing")
        of_calls = self.model_fields_set & {"method", "body", "token"}
        if of_calls and not self.url:
            raise ValueError(f"{min(of_calls)} goes with a url")
        if self.request and not self.operation:
            raise ValueError("request goes with an operation")
        return self


class SchedulerSettings(Section):
    """``[plugins.scheduler]``: what runs when, and where."""

    in_host: bool = Field(
        default=False,
        description="Whether HTTP hosts take part in running jobs, beside `spark scheduler`.",
    )
    jobs: dict[Name, JobSettings] = Field(default={}, description="Jobs by their names.")
    lease_s: float = Field(
        default=30.0,
        ge=1,
        le=300,
        description="Within how many seconds another scheduler takes over from one that is gone.",
    )
    drain_s: float = Field(
        default=20.0, ge=0, le=3600, description="How long a stop waits for what is running."
    )
    patience_s: float = Field(
        default=3600.0,
        ge=0,
        le=7 * 86400,
        description="For how long after its timeout the answer to a call is waited for: as long "
        "as that, the job is not run again.",
    )
    keep_days: float = Field(
        default=14.0, gt=0, le=3650, description="For how many days runs are remembered."
    )
    health_host: str = Field(
        default="127.0.0.1", min_length=1, description="Where `spark scheduler` tells its health."
    )
    health_port: int = Field(
        default=9998, ge=0, le=65535, description="The port of that; 0 takes a free one."
    )
