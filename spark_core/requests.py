"""Models of requests that several operations share."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["Empty"]


class Empty(BaseModel, defer_build=True):
    """The request of an operation that takes none."""
