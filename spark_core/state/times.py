"""Times in the state: stored in UTC, read back aware, whatever the database makes of them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["aware"]


def aware(moment: datetime) -> datetime:
    """*moment* in UTC; SQLite gives back times without their zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
