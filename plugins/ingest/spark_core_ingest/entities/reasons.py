"""Says in words why two records are, or are not, of the same person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import model
from .clusters import day

__all__ = ["reasons"]

#: What is known of one record, by the names of :class:`~.profiles.Profile`.
Said = Mapping[str, Any]


def reasons(codes: Mapping[str, int], one: Said, other: Said) -> list[str]:
    """What the two agree and differ in, the strongest first; *codes* are those of the model."""
    levels = {name: _level(name, code) for name, code in codes.items() if code >= 0}
    told = [*_name(levels, one, other), *_others(levels, one, other)]
    return [text for _, text in sorted(told, key=lambda weighed: -weighed[0])]


def _level(name: str, code: int) -> str:
    level = model.COMPARISONS[name].level(code)
    return level.name if level else "differ"


def _weight(name: str, level: str) -> float:
    from math import log2

    for each in model.COMPARISONS[name].levels:
        if each.name == level:
            return log2(each.m / each.u)
    m, u = model.COMPARISONS[name].differ
    return log2(m / u)


def _name(levels: Mapping[str, str], one: Said, other: Said) -> Iterator[tuple[float, str]]:
    given, family = levels.get("given"), levels.get("family")
    weight = sum(_weight(name, levels[name]) for name in ("given", "family") if name in levels)
    names = _written(one), _written(other)
    if {given, family} <= {"same", "close", "near"}:
        yield weight, _alike(*names)
        return
    if given == family == "exchanged":
        yield weight, f"given and family name exchanged: {names[0]}, {names[1]}"
        return
    for name, level in (("given", given), ("family", family)):
        if level is not None:
            yield _weight(name, level), _part(name, level, str(one[name]), str(other[name]))


def _written(said: Said) -> str:
    return " ".join(str(said[part]).title() for part in ("given", "family") if said[part])


def _alike(one: str, other: str) -> str:
    from rapidfuzz.distance import DamerauLevenshtein

    if one == other:
        return f"same name {one}"
    if DamerauLevenshtein.distance(one, other) == 1:
        return f"name differs in one letter: {one}, {other}"
    return f"similar names: {one}, {other}"


def _part(name: str, level: str, one: str, other: str) -> str:
    one, other = one.title(), other.title()
    if level == "same":
        return f"same {name} name {one}"
    how = {"differ": "different", "near": "perhaps the same"}.get(level, "similar")
    return f"{how} {name} names: {one}, {other}"


_LISTS = {
    "email": ("emails", "e-mail", "different e-mail addresses"),
    "phone": ("phones", "phone", "different phone numbers"),
    "birth": ("births", "birth date", "birth dates differ: {}, {}"),
    "ids": ("ids", "number", "numbers differ: {}, {}"),
    "organization": ("organizations", "organization", "different organizations: {}, {}"),
    "postcode": ("postcodes", "postcode", "different postcodes: {}, {}"),
    "house": ("houses", "house number", "different house numbers: {}, {}"),
}


def _others(levels: Mapping[str, str], one: Said, other: Said) -> Iterator[tuple[float, str]]:
    for name, level in levels.items():
        if name in _LISTS and (name, level) != ("house", "same"):
            yield _weight(name, level), _of_list(name, level, one, other)
    if place := levels.get("address"):
        yield _weight("address", place), _ADDRESS[place]


_ADDRESS = {
    "same": "same address",
    "close": "nearly the same address",
    "near": "similar addresses",
    "far": "addresses with something in common",
    "differ": "different addresses",
}


def _of_list(name: str, level: str, one: Said, other: Said) -> str:
    column, noun, differ = _LISTS[name]
    mine, others = one[column], other[column]
    if level.startswith("same"):
        return f"same {noun} {_shown(name, _shared(name, mine, others))}"
    shown = [_shown(name, values[0]) for values in (mine, others)]
    if level == "differ":
        return differ.format(*shown)
    if level == "local":
        return f"e-mail addresses of one name: {shown[0]}, {shown[1]}"
    how = "differs in one character" if level == "close" else "differs in two characters"
    if name == "organization":
        how = "is similar"
    return f"{noun} {how}: {shown[0]}, {shown[1]}"


def _shared(name: str, mine: Sequence[str], others: Sequence[str]) -> str:
    if both := sorted({*mine} & {*others}):
        return both[0]
    return max((*mine, *others), key=len) if name == "phone" else mine[0]


def _shown(name: str, value: str) -> str:
    if name == "birth":
        return day(value)
    if name == "ids":
        return value.partition("=")[2]
    return value.title() if name == "organization" else value
