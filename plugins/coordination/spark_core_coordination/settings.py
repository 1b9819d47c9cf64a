"""``[plugins.coordination]``"""

from __future__ import annotations

from pydantic import Field

from spark_core import Section

__all__ = ["CoordinationSettings"]


class CoordinationSettings(Section):
    """``[plugins.coordination]``: how long reservations may be."""

    lock_max_ttl_s: float = Field(
        default=86400.0,
        ge=1,
        allow_inf_nan=False,
        description="The longest time, in seconds, for which a reservation is made or renewed.",
    )
