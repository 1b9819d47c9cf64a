"""``[mcp]``: what agents may do, and where they are listened to."""

from __future__ import annotations

from pydantic import ByteSize, Field

from spark_core import Section

__all__ = ["McpSettings"]


class McpSettings(Section):
    """``[mcp]``"""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="The address to listen at, with --http."
    )
    port: int = Field(
        default=9998, ge=0, le=65535, description="The port to listen at; 0 takes a free one."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="More names that this host is asked by; `*` is any. Addresses, `localhost`, "
        "`host` and this machine's own names need no mention.",
    )
    read_only: bool = Field(
        default=False, description="Whether tools that change anything are left out."
    )
    max_message: ByteSize = Field(
        default=ByteSize(4 * 1024**2),
        ge=1024,
        description="The largest message from an agent, in bytes or as `4 MiB`.",
    )
    max_result: ByteSize = Field(
        default=ByteSize(1024**2),
        ge=1024,
        description="The largest result of a tool; agents read all of it.",
    )
    max_running: int = Field(
        default=16, ge=1, le=1000, description="How many calls run at the same time; others wait."
    )
    max_sessions: int = Field(
        default=100, ge=1, description="How many agents may be connected over HTTP."
    )
