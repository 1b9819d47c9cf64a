"""``[http]``: where and how everything is served."""

from __future__ import annotations

from typing import Annotated

from pydantic import ByteSize, Field

from spark_core import Env, Section

__all__ = ["HttpSettings"]


class HttpSettings(Section):
    """``[http]``"""

    host: str = Field(default="127.0.0.1", min_length=1, description="The address to listen at.")
    port: Annotated[int, Env("BIND_PORT")] = Field(
        default=9999, ge=0, le=65535, description="The port to listen at; 0 takes a free one."
    )
    workers: int = Field(default=2, ge=1, le=256, description="How many processes serve.")
    max_body: ByteSize = Field(
        default=ByteSize(10 * 1024**2),
        ge=1,
        description="The largest body of a request, in bytes or as `10 MiB`.",
    )
    graceful_timeout_s: int = Field(
        default=5,
        ge=1,
        description="How long a stop waits for running requests, in seconds. Connections that "
        "are kept alive count as running, so with idle clients a stop takes this long.",
    )
