"""`spark scheduler` as a process: its health, and how it stops."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 60.0


def run_spark(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spark_core_cli", *words]
    return subprocess.run(command, cwd=home, capture_output=True, text=True)


@contextmanager
def scheduler(home: Path, toml: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A scheduler of its own, and where it tells its health."""
    (home / "spark.toml").write_text(toml)
    command = [sys.executable, "-m", "spark_core_cli", "scheduler", "--health-port", "0"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+/health", process.stdout.readline())
        assert found is not None, (home / "log").read_text()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def health(url: str) -> tuple[int, Mapping[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def until_leader(url: str) -> None:
    end = time.monotonic() + DEADLINE
    while health(url)[1]["role"] != "leader":
        assert time.monotonic() < end
        time.sleep(0.05)


JOBS = """
[plugins.scheduler.jobs.look]
schedule = "every 0m"
operation = "plugins"
"""


def test_e6_a_supervisor_sees_that_it_lives(spark_home: Path) -> None:
    """Over HTTP: its role, and when it was last seen at work. SIGINT ends it with success."""
    with scheduler(spark_home, JOBS) as (process, url):
        until_leader(url)
        status, told = health(url)
        assert (status, told["status"]) == (200, "ok")
        assert told["beat_age_s"] < 30
        assert health(url.replace("/health", "/other"))[0] == 404
        port = url.split(":")[2].split("/")[0]
        done = run_spark(spark_home, "scheduler", "--health-port", port)
        assert done.returncode == 1
        assert "cannot listen" in done.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0


def test_e19_a_signal_ends_it_at_once(spark_home: Path) -> None:
    """Nothing sleeps through it: it ends with success, and has given its lease back."""
    with scheduler(spark_home, JOBS) as (process, url):
        until_leader(url)
        process.terminate()
        assert process.wait(DEADLINE) == 0
    listed = run_spark(spark_home, "jobs", "list", "--json").stdout
    assert json.loads(listed)["scheduler"] is None


HANGING = """
import asyncio, time
from pathlib import Path
from spark_core import Effect, Operation, hookimpl
from spark_core.operations import Empty

async def hang(request: Empty) -> Empty:
    Path("begun").touch()
    await asyncio.to_thread(time.sleep, 3600)
    return Empty()

@hookimpl
def spark_register_operations():
    return [Operation("hang", hang, Effect.READ, summary="Hang.")]
"""


def test_e19_a_thread_that_does_not_end_does_not_hold_up_a_stop(
    spark_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drain has its limit also where a job keeps a thread, which nobody can end."""
    (spark_home / "hanging.py").write_text(HANGING)
    told = spark_home / "hanging-0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging\nVersion: 0\n")
    (told / "entry_points.txt").write_text("[spark_core]\nhanging = hanging\n")
    monkeypatch.setenv("PYTHONPATH", str(spark_home))
    toml = "[plugins.scheduler]\ndrain_s = 0\n[plugins.scheduler.jobs.hang]\n"
    with scheduler(spark_home, f'{toml}schedule = "every 1h"\noperation = "hang"') as (process, _):
        end = time.monotonic() + DEADLINE
        while not (spark_home / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.terminate()
        assert process.wait(DEADLINE) == 0
    listed = run_spark(spark_home, "jobs", "history", "--name", "hang").stdout
    assert "interrupted" in listed


def test_jobs_that_cannot_be_run_are_told_before_anything_runs(spark_home: Path) -> None:
    (spark_home / "spark.toml").write_text('[plugins.scheduler.jobs.x]\nschedule = "every 5m"\n')
    done = run_spark(spark_home, "scheduler", "--health-port", "0")
    assert done.returncode == 2
    assert "needs an operation or a url" in done.stderr
    assert "Traceback" not in done.stderr
