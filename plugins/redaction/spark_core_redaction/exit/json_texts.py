"""Texts that are JSON, and numbers in them, so that nothing in them is read over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

from pydantic_core import from_json

__all__ = ["all_digits", "is_finite", "json_in", "says_all"]


def json_in(text: str) -> Any:
    """The object or list that *text* is, if it is one."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def says_all(text: str) -> bool:
    """Whether all that stands in *text*, which is JSON, is in what is read from it.

    It is not where a field is given twice, or a number with more than is read of it.
    """
    try:
        json.loads(text, object_pairs_hook=_once, parse_float=_plain)
    except (ValueError, RecursionError):
        return False
    return True


def _once(pairs: Sequence[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field is given twice")


def _plain(written: str) -> None:
    if repr(float(written)) != written:
        raise ValueError("a number is written in another way")


def is_finite(value: float) -> bool:
    """Whether *value* is a number that JSON has; of integers all are."""
    return isinstance(value, int) or isfinite(value)


def all_digits(value: float) -> str:
    """*value* with all its digits: an exponent hides some."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return format(Decimal(repr(value)), "f")
