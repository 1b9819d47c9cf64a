"""What the log of a new container says, however it arrives."""

from __future__ import annotations

import pytest
from spark_core_promotion.settings import Logs
from spark_core_promotion.watching import _Log

BOUND = "Listening on UDS /run/s"


def at(moment: int, line: str) -> str:
    return f"2026-01-01T00:00:00.{moment:09}Z {line}\n"


def read(*texts: str) -> _Log:
    log = _Log()
    for text in texts:
        log.read(text, Logs())
    return log


def test_lines_of_one_moment_are_all_read():
    """Also where some of them came with the look before."""
    assert read(at(1, "engine starts") + at(1, BOUND)).bound
    assert read(at(1, "engine starts"), at(1, "engine starts") + at(1, BOUND)).bound


def test_what_is_no_line_of_the_log_changes_nothing():
    """Docker warns on the same output; later lines are still read."""
    log = read("WARNING: something\n" + at(1, "engine starts"), at(2, BOUND))
    assert log.bound
    assert log.last.startswith("2026")


def test_half_a_line_is_read_when_it_is_whole():
    line = at(2, BOUND)
    log = read(at(1, "engine starts") + line[:-8])
    assert not log.bound
    log.read(line, Logs())
    assert log.bound


@pytest.mark.parametrize(
    "lines",
    [
        ["{n} Snapshot load progress 3/6"] * 4,
        ["Snapshot load progress 3/6", "imported 1 graph(s)"] * 2,
    ],
    ids=["with-its-own-clock", "in-turns"],
)
def test_what_was_said_before_is_no_progress(lines):
    """A clock before it makes nothing new of it; two things in turns are not new either."""
    texts = [at(n, line.format(n=n)) for n, line in enumerate(lines)]
    assert len(read(*texts).news) == len({line.partition("S")[2] for line in lines})
