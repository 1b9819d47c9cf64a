"""What the log of a new container says, however it arrives."""

from __future__ import annotations

import os

import pytest
from spark_core_promotion.nodes import Nodes
from spark_core_promotion.places import Places
from spark_core_promotion.services import Services, Task
from spark_core_promotion.settings import Logs, PromotionSettings
from spark_core_promotion.watching import Watch, _Log

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


#: Shows the lines of a file from a moment on, and warns with a later moment than all of them.
DOCKER = """#!/bin/sh
if [ "$1" = inspect ]; then echo 2026-01-01T00:00:00.000000000Z; exit; fi
awk -v since="$4" '$1 >= since' "$(dirname "$0")/log"
echo "2026-01-02T00:00:00.000000000Z late" >&2
"""


@pytest.mark.anyio
async def test_a_log_of_more_than_a_mebibyte_is_read_to_its_end(tmp_path, monkeypatch):
    """In one look, before it is decided whether there is progress; the two outputs are one."""
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    noise = "".join(at(n, "x" * 480) for n in range(5000))
    (tmp_path / "log").write_text(noise + at(5000, BOUND))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = PromotionSettings()
    nodes = Nodes(Places(None), settings)
    shown: list[str] = []

    async def tell(lines) -> None:
        shown.extend(lines)

    watch = Watch(nodes, Services(nodes, "local"), settings, {"n": "local"}, tell)
    task = Task("t", 1, "running", True, "", "c", "n")
    assert await watch._serves(task, Logs(), {})
    assert shown == [BOUND]
