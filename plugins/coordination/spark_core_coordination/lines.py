"""Texts of one line: they stand in messages, and not every database holds every character."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

__all__ = ["Line"]

#: Text without control characters.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]
