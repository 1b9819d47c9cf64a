"""The stand-in for docker's services: tasks, health, start periods, and the order of updates."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from spark_core_lab import sparks

pytestmark = pytest.mark.skipif(
    not Path(sparks.SSHD).exists(), reason="openssh-server is not installed"
)

SLEEP = ("sh", "-c", "echo begins; exec sleep 1000")


@pytest.fixture(scope="module")
def pair():
    with sparks.start(2) as machines:
        yield machines


@pytest.fixture
def spark(pair):
    yield pair[0]
    for name in ("api", "other"):
        pair[0].docker("service", "rm", name)


def until(holds):
    deadline = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return found


def create(spark, *options, command=SLEEP):
    done = spark.docker("service", "create", "--name", "api", *options, "image", *command)
    assert done.returncode == 0, done.stderr


def tasks(spark):
    ids = spark.docker("service", "ps", "-q", "--no-trunc", "api").stdout.split()
    shown = spark.docker("inspect", "--type", "task", *ids)
    return json.loads(shown.stdout) if ids and shown.returncode == 0 else []


def states(spark):
    return [task["Status"]["State"] for task in tasks(spark)]


def test_a_service_runs_a_real_process_where_it_is_to(pair, spark):
    create(spark, "--constraint", "node.hostname==spark2")
    until(lambda: states(spark) == ["running"])
    [task] = tasks(spark)
    assert task["NodeID"] == pair[1].docker("info", "-f", "{{.Swarm.NodeID}}").stdout.strip()
    number = task["Status"]["ContainerStatus"]["ContainerID"]
    shown = pair[1].docker("logs", "--timestamps", number).stdout
    assert shown.split(" ", 1)[1] == "begins\n"
    assert pair[1].docker("logs", "-t", "--since", "2999-01-01T00:00:00Z", number).stdout == ""


def test_a_forced_update_ends_the_old_task_before_the_new_one_begins(spark):
    create(spark)
    until(lambda: states(spark) == ["running"])
    update = ("service", "update", "--detach", "--update-order", "stop-first", "--force", "api")
    assert spark.docker(*update).returncode == 0
    until(lambda: states(spark) == ["running", "shutdown"])
    assert [task["Spec"]["ForceUpdate"] for task in tasks(spark)] == [1, 0]
    assert [entry["what"] for entry in spark.journal][-3:] == ["begins", "ended", "begins"]


def test_start_first_has_both_at_once(spark):
    """That is why a promotion never asks for it."""
    create(spark)
    until(lambda: states(spark) == ["running"])
    spark.docker("service", "update", "--update-order", "start-first", "--force", "api")
    until(lambda: states(spark) == ["running", "shutdown"])
    assert [entry["what"] for entry in spark.journal][-3:] == ["begins", "begins", "ended"]


def test_a_task_whose_health_check_fails_after_its_start_period_is_killed(spark):
    """And another takes its place, again and again."""
    health = ("--health-cmd", "false", "--health-interval", "50ms", "--health-retries", "2")
    create(spark, *health, "--health-start-period", "100ms")
    until(lambda: states(spark).count("failed") > 1)
    failed = next(task for task in tasks(spark) if task["Status"]["State"] == "failed")
    assert "unhealthy" in failed["Status"]["Err"]


def test_within_its_start_period_failing_counts_for_nothing(spark, tmp_path):
    """It is healthy with the first check that succeeds."""
    well = tmp_path / "well"
    health = ("--health-cmd", f"test -e {well}", "--health-interval", "20ms")
    create(spark, *health, "--health-retries", "1", "--health-start-period", "10m")
    until(lambda: states(spark) == ["starting"])
    container = tasks(spark)[0]["Status"]["ContainerStatus"]["ContainerID"]
    shown = ("inspect", "-f", "{{.State.Health.Status}}", container)
    until(lambda: spark.docker(*shown).stdout.strip() == "starting")
    well.touch()
    until(lambda: states(spark) == ["running"])
    assert spark.docker(*shown).stdout.strip() == "healthy"


def test_a_task_that_ends_is_replaced(spark):
    create(spark, command=("sh", "-c", "exit 3"))
    until(lambda: states(spark).count("failed") > 1)
    assert "non-zero exit (3)" in tasks(spark)[-1]["Status"]["Err"]


def test_what_cannot_be_is_refused_as_docker_does(spark):
    missing = spark.docker("service", "update", "--force", "nothing")
    assert (missing.returncode, missing.stderr.strip()) == (1, "Error: no such service: nothing")
    create(spark)
    wrong = spark.docker("service", "update", "--health-start-period", "soon", "api")
    assert wrong.returncode == 125
