"""A Qdrant server that is killed while a run writes to it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .test_killed import change, make, spark, stopped

pytestmark = pytest.mark.slow


@contextmanager
def serving(folder: Path, port: str = "0") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of what lies in *folder*, and its address; it is killed at the end."""
    program = Path(__file__).with_name("qdrant_server.py")
    command = [sys.executable, "-W", "ignore", str(program), str(folder), port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip(), server
        finally:
            server.kill()


def embedded(errors: str) -> int:
    found = re.search(r"embedded (\d+)", errors)
    assert found, errors
    return int(found[1])


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        (("backfill",), "after upsert:3"),
        (("sync",), "after put:1"),
        (("backfill", "--recreate"), "before put:1"),
    ],
)
def test_a_server_that_is_killed_during_a_run_is_gone_on_with(tmp_path, words, moment):
    """The run fails and says why; once the server is back the next goes on, and loses nothing."""
    home, folder = make(tmp_path / "home"), tmp_path / "qdrant"
    with serving(folder) as (url, server):
        variables = {"QDRANT_URL": url}
        if "--recreate" in words:
            assert spark(home, "ingest", "backfill", **variables).returncode == 0
        change(home)
        with stopped(home, "ingest", *words, at=moment, LEASE="3", **variables) as run:
            server.kill()
            server.wait()
            run.send_signal(signal.SIGCONT)
            errors = run.communicate()[1].decode()
        assert run.returncode == 1, errors
        assert "Qdrant" in errors
        assert spark(home, "search", "note 7", **variables).returncode == 1
    with serving(folder, url.rpartition(":")[2]):
        if "--recreate" in words:
            assert spark(home, "search", "note 7", **variables).returncode == 0
        rest = spark(home, "ingest", *words, "--json", **variables)
        assert rest.returncode == 0, rest.stderr
        points = json.loads(rest.stdout)["points"]
        assert points <= embedded(errors) + embedded(rest.stderr)
        assert moment != "after put:1" or embedded(rest.stderr) < points
        assert embedded(spark(home, "ingest", "sync", **variables).stderr) == 0
        status = json.loads(spark(home, "ingest", "status", "--json", **variables).stdout)
        assert (status["agrees"], status["points"], status["failures"]) == (True, points, 0)
        assert spark(home, "search", "note 7", **variables).returncode == 0
