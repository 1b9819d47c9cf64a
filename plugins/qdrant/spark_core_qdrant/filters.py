"""Payload filters, for either engine: their condition types differ in little but their home."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from spark_core.contracts.records import Scalar
from spark_core.errors import InvalidRequest

__all__ = ["ConditionTypes", "build_filter", "field_path", "only"]

#: Below this each whole number is a float of its own; ranges are of floats.
EXACT = 2**53


class ConditionTypes(Protocol):
    """An engine's own types for conditions."""

    Filter: Any
    FieldCondition: Any
    MatchValue: Any
    MatchAny: Any
    Range: Any
    IsEmpty: Any


def build_filter(
    types: ConditionTypes, filter: Mapping[str, Scalar | Sequence[Scalar]] | None
) -> Any:
    """*filter* in the engine's *types*; ``None`` where it asks nothing."""
    if not filter:
        return None
    return types.Filter(must=[_field(types, key, wanted) for key, wanted in filter.items()])


def _field(types: ConditionTypes, key: str, wanted: Scalar | Sequence[Scalar]) -> Any:
    values = [wanted] if isinstance(wanted, str | int | float | None) else list(wanted)
    conditions = list(_conditions(types, field_path(key), values))
    if len(conditions) == 1:
        return conditions[0]
    return types.Filter(should=conditions) if conditions else _nothing(types)


def _conditions(types: ConditionTypes, key: str, values: Sequence[Scalar]) -> Iterable[Any]:
    """One condition per kind of value. Numbers go by range: 3 and 3.0 are the same."""
    if texts := [value for value in values if isinstance(value, str)]:
        yield types.FieldCondition(key=key, match=types.MatchAny(any=texts))
    for value in values:
        if value is None:
            yield types.IsEmpty(key)
        elif isinstance(value, bool) or (isinstance(value, int) and abs(value) >= EXACT):
            yield types.FieldCondition(key=key, match=types.MatchValue(value=value))
        elif isinstance(value, int | float):
            exact = types.Range(gte=float(value), lte=float(value))
            yield types.FieldCondition(key=key, range=exact)


def _nothing(types: ConditionTypes) -> Any:
    """Any of no values: matches no point, rather than every one."""
    return types.Filter(must=[types.IsEmpty("id"), types.Filter(must_not=[types.IsEmpty("id")])])


def only(key: str) -> list[str] | bool:
    """A selection of the payload: the one field *key*, or all where no path can say it."""
    return True if '"' in key or "\\" in key else [f'"{key}"']


def field_path(key: str) -> str:
    """*key* as the engine's JSON path: unusual names are quoted, brackets have no meaning.

    :raises InvalidRequest: the engine's paths cannot say it.
    """
    parts = key.split(".")
    if '"' in key or "\\" in key or not all(parts):
        raise InvalidRequest(f"{key!r} cannot be a payload field's name")
    plain = re.compile(r"[A-Za-z0-9_-]+")
    return ".".join(part if plain.fullmatch(part) else f'"{part}"' for part in parts)
