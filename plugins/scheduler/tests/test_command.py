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


def test_jobs_that_cannot_be_run_are_told_before_anything_runs(spark_home: Path) -> None:
    (spark_home / "spark.toml").write_text('[plugins.scheduler.jobs.x]\nschedule = "every 5m"\n')
    done = run_spark(spark_home, "scheduler", "--health-port", "0")
    assert done.returncode == 2
    assert "needs an operation or a url" in done.stderr
    assert "Traceback" not in done.stderr
