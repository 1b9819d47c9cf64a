"""``[http]``: where and how everything is served."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field, SecretStr

from spark_core import Env, Section

__all__ = ["HttpSettings"]


def _name(text: str) -> str:
    if not re.fullmatch(r"\*|[A-Za-z0-9._-]+", text):
        raise ValueError("a name is meant, without scheme and port, or `*`")
    return text.removesuffix(".")


class HttpSettings(Section):
    """``[http]``"""

    host: str = Field(default="127.0.0.1", min_length=1, description="The address to listen at.")
    port: Annotated[int, Env("BIND_PORT")] = Field(
        default=9999, ge=0, le=65535, description="The port to listen at; 0 takes a free one."
    )
    allowed_hosts: tuple[Annotated[str, AfterValidator(_name)], ...] = Field(
        default=(),
        description="More names that this host is asked by, such as a load balancer's; `*` is any. "
        "Addresses, `localhost`, `host` and this machine's own names need no mention.",
    )
    workers: int = Field(default=2, ge=1, le=256, description="How many processes serve.")
    max_body: ByteSize = Field(
        default=ByteSize(10 * 1024**2),
        ge=1,
        description="The largest body of a request, in bytes or as `10 MiB`.",
    )
    scheduler_api_token: Annotated[SecretStr | None, Env("SCHEDULER_API_TOKEN")] = Field(
        default=None,
        description="Who asks below `/api/admin/`, or for `/api/health/detailed`, shows it as a "
        "bearer token. It has at least 32 characters; a shorter one closes these routes. Without "
        "one they are open.",
    )
    graceful_timeout_s: int = Field(
        default=5,
        ge=1,
        description="How long a stop waits for running requests, in seconds. Connections that "
        "are kept alive count as running, so with idle clients a stop takes this long.",
    )
