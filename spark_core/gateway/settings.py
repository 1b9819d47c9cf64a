"""``[gateway]``"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ByteSize, Field

from ..settings import Env, Section

__all__ = ["GatewaySettings"]


def _names(value: object) -> object:
    """A list, or text with commas between names."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


class GatewaySettings(Section):
    """``[gateway]``: what holds for every request that is relayed."""

    wait_s: float = Field(
        default=60.0, ge=0, le=3600, description="How long a request may wait for its turn."
    )
    max_json: ByteSize = Field(
        default=ByteSize(64 * 1024**2), ge=1, description="The largest JSON body."
    )
    max_upload: ByteSize = Field(
        default=ByteSize(1024**3), ge=1, description="The largest upload of audio."
    )
    disabled: Annotated[tuple[str, ...], Env("DISABLED_SERVICES"), BeforeValidator(_names)] = Field(
        default=(),
        description="Backends, or kinds of them, that are left alone as if they were not there.",
    )
    groups: dict[str, int] = Field(
        default_factory=dict,
        description="How many requests each group of backends that share a GPU works on at "
        "once, such as `audio`.",
    )
