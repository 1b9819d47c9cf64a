"""The error tree: as it is drawn, so it is."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from spark_core import errors
from spark_core.errors import InvalidRequest, Problem, SparkError, Unavailable


def _classes() -> list[type[SparkError]]:
    found = [SparkError]
    for cls in found:
        found += [sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__]
    return found


def _drawn() -> dict[str, str | None]:
    """Each class of the drawing with the class that it hangs from."""
    above: dict[int, str] = {}
    parents: dict[str, str | None] = {}
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        if match := re.match(r"^    ([│ ├└─]*)([A-Z]\w+)(?:\s|$)", line):
            depth = len(match[1]) // 4
            above[depth] = match[2]
            parents[match[2]] = above.get(depth - 1)
    return parents


def test_the_drawing_is_the_tree() -> None:
    """Every error is drawn where it hangs, and nothing else is drawn."""
    real = {c.__name__: c.__base__.__name__ for c in _classes() if c.__base__ is not None}
    assert _drawn() == {**real, "SparkError": None}


def test_everything_is_exported() -> None:
    """`__all__` is exactly the tree and what describes a problem, in order."""
    assert errors.__all__ == sorted({c.__name__ for c in _classes()} | {"Problem"})


@pytest.mark.parametrize("cls", _classes())
def test_each_error_says_what_it_means(cls: type[SparkError]) -> None:
    """Every class has a docstring of its own."""
    assert cls.__doc__
    assert cls.__doc__ not in {base.__doc__ for base in cls.__mro__[1:]}


def test_codes_are_distinct_words() -> None:
    """The code in answers is the class's name in small letters, each word after a dash."""
    codes = {cls("it failed").code: cls.__name__ for cls in _classes()}
    assert len(codes) == len(_classes())
    for code, name in codes.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert code.replace("-", "") == name.lower()
    assert {"not-found", "lease-held", "spark-error", "timed-out"} <= codes.keys()


def test_the_hint_follows_the_message() -> None:
    """The text of an error is what happened, then what to do about it."""
    assert str(SparkError("no index", hint="run a backfill")) == "no index (run a backfill)"
    assert str(SparkError("no index")) == "no index"


@pytest.mark.parametrize("cls", _classes())
def test_errors_travel_between_processes(cls: type[SparkError]) -> None:
    """An error that is pickled arrives with its message and its hint."""
    copy = pickle.loads(pickle.dumps(cls("it failed", hint="try again")))
    assert (type(copy), copy.message, copy.hint) == (cls, "it failed", "try again")


def test_what_an_error_carries_travels_too() -> None:
    """Problems and the time to wait survive the journey."""
    invalid = InvalidRequest("limit", problems=[Problem("/limit", "too large")])
    assert pickle.loads(pickle.dumps(invalid)).problems == (Problem("/limit", "too large"),)
    assert pickle.loads(pickle.dumps(Unavailable("away", retry_after=9.0))).retry_after == 9.0
