"""Machines like Sparks: what runs on them does what the real programs do, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from spark_core_lab import sparks

pytestmark = pytest.mark.skipif(
    not Path(sparks.SSHD).exists(), reason="openssh-server is not installed"
)

MODEL = ("vllm", "serve", "lab/tiny", "--served-model-name", "tiny", "--port")


@pytest.fixture
def pair():
    with sparks.start(2) as machines:
        yield machines


@pytest.fixture
def spark(pair):
    return pair[0]


def ssh(spark, command, **more):
    """OpenSSH's own client, as a person uses it."""
    words = ["ssh", "-F", str(spark.folder / "ssh_config"), "-o", "BatchMode=yes", spark.name]
    return subprocess.run([*words, command], capture_output=True, text=True, timeout=60, **more)


def until(holds):
    deadline = time.monotonic() + 30
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
    return found


def available(spark):
    line = next(
        line
        for line in (spark.folder / "meminfo").read_text().splitlines()
        if line.startswith("MemAvailable")
    )
    return int(line.split()[1]) * 1024


def models(spark):
    done = spark.call("curl", "-s", f"http://127.0.0.1:{spark.vllm_port}/v1/models")
    return [card["id"] for card in json.loads(done.stdout)["data"]] if done.stdout else []


def test_each_has_its_own_home_and_port(pair):
    seen = {(spark.port, ssh(spark, "pwd").stdout.strip()) for spark in pair}
    assert seen == {(spark.port, str(spark.home)) for spark in pair}


def test_nothing_is_left():
    """Neither a process nor a file, whatever still ran."""
    with sparks.start(1) as (spark,):
        spark.docker("run", "-d", "--name", "x", "image", "sleep", "600")
        spark.call("sh", "-c", "setsid sleep 601 >/dev/null 2>&1 &")
        folder = spark.folder.parent
        assert len(spark.running()) == 3
    assert not folder.exists()
    assert spark.running() == []


def test_docker_answers_as_docker_does(spark):
    """A used name and a missing image: 125; what is not there cannot be inspected, but removed."""
    spark.inject("missing_images", ["gone"])
    assert spark.docker("run", "-d", "--name", "x", "image").returncode == 0
    assert spark.docker("run", "-d", "--name", "x", "image").returncode == 125
    assert spark.docker("run", "-d", "gone").returncode == 125
    missing = spark.docker("inspect", "nosuch")
    assert (missing.returncode, missing.stdout.strip()) == (1, "[]")
    assert spark.docker("rm", "-f", "nosuch").returncode == 0
    assert spark.docker("rm", "x").returncode == 1
    assert spark.docker("stop", "x").returncode == 0
    assert spark.docker("ps", "-q").stdout == ""
    assert len(spark.docker("ps", "-aq").stdout.split()) == 1


def test_inspect_shows_labels_and_restarts(spark):
    spark.docker(
        *("run", "-d", "--name", "x", "--label", "a.b=c", "--restart", "always", "image"),
        *("sh", "-c", "sleep 0.05; exit 3"),
    )
    template = '{{.RestartCount}} {{index .Config.Labels "a.b"}}'
    shown = until(
        lambda: (
            (text := spark.docker("inspect", "-f", template, "x").stdout.split())[0] != "0" and text
        )
    )
    assert shown[1] == "c"


def test_it_is_written_down_when_containers_begin_and_end(spark):
    for name in "xy":
        spark.docker("run", "-d", "--name", name, "image")
        spark.docker("stop", "-t", "1", name)
    x, y = (spark.docker("inspect", "-f", "{{.Id}}", name).stdout.strip() for name in "xy")
    shown = [(entry["what"], entry["container"]) for entry in spark.journal]
    assert shown == [("begins", x), ("ended", x), ("begins", y), ("ended", y)]


def test_a_restart_keeps_the_container_and_its_files(spark, tmp_path):
    (tmp_path / "patch.py").write_text("patched")
    spark.docker("run", "-d", "--name", "x", "image")
    ids = spark.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "x").stdout.split()
    spark.docker("cp", str(tmp_path / "patch.py"), "x:/app/patch.py")
    spark.docker("restart", "-t", "1", "x")
    again = spark.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "x").stdout.split()
    assert again[0] == ids[0]
    assert again[1] > ids[1]
    assert spark.docker("exec", "x", "cat", "/app/patch.py").stdout == "patched"


def test_a_container_outlives_the_connection(spark):
    """What sshd is told to forget goes on."""
    command = "docker run --rm --name x image sleep 600"
    words = ["ssh", "-F", str(spark.folder / "ssh_config"), spark.name, command]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        until(lambda: spark.docker("ps", "-q").stdout)
        assert spark.drop() > 0
        client.wait(10)
    assert spark.docker("ps", "-q").stdout


def test_a_machine_may_be_out_of_reach(spark):
    spark.stop_sshd()
    assert ssh(spark, "true").returncode == 255
    spark.start_sshd()
    assert ssh(spark, "true").returncode == 0


def test_a_model_on_two_machines(pair):
    """The launcher starts both ranks; the model takes memory until the launcher ends."""
    head, other = pair
    before = available(head)
    words = (str(head.launcher), "exec", *MODEL, str(head.vllm_port), "--odd", "a b;$(c)")
    environment = {"SSH_ORIGINAL_COMMAND": "exec " + " ".join(f"'{word}'" for word in words)}
    launcher = subprocess.Popen(
        [str(head.folder / "account")], env=environment, start_new_session=True
    )
    until(lambda: models(head) == ["tiny"])
    arguments, _ = until(lambda: other.received)
    assert "a b;$(c)" in arguments
    assert "--headless" in arguments
    assert available(head) < before
    os.killpg(launcher.pid, signal.SIGTERM)  # as when its terminal is closed
    launcher.wait(30)
    until(lambda: not head.running() and not other.running())
    assert available(head) == before


def test_an_exit_without_a_start(spark):
    spark.inject("starts_nothing")
    assert spark.call(str(spark.launcher), "--solo", "exec", *MODEL, "1").returncode == 0
    assert spark.docker("ps", "-aq").stdout == ""


def test_a_launcher_skips_what_runs_already(spark):
    spark.docker("run", "-d", "--name", "vllm_node", "image")
    done = spark.call(str(spark.launcher), "--solo", "-d", "start")
    assert "Skipping launch" in done.stdout
    assert done.returncode == 0


def run_model(spark):
    spark.docker("run", "-d", "--name", "x", "image", *MODEL, str(spark.vllm_port))


def test_a_container_that_stays(spark):
    spark.inject("container_stays")
    run_model(spark)
    assert spark.docker("stop", "x").returncode == 1
    assert spark.docker("ps", "-q").stdout
    spark.clear("container_stays")
    assert spark.docker("stop", "x").returncode == 0


def test_memory_that_stays(spark):
    before = available(spark)
    run_model(spark)
    until(lambda: available(spark) < before)
    spark.inject("memory_stays")
    spark.docker("stop", "x")
    assert available(spark) < before
    spark.clear()
    assert available(spark) == before


def test_a_port_that_stays(spark):
    run_model(spark)
    until(lambda: models(spark))
    spark.inject("port_stays", spark.vllm_port)
    spark.docker("stop", "x")
    until(lambda: spark.call("ss", "-Hltn", f"sport = :{spark.vllm_port}").stdout)


def test_a_socket_of_another_machine_is_not_shown(pair):
    head, _ = pair
    run_model(head)
    until(lambda: models(head))
    shown = [s.call("ss", "-Hltn", f"sport = :{head.vllm_port}").stdout for s in pair]
    assert shown[0]
    assert not shown[1]


def test_a_model_that_crashes_while_it_loads(spark):
    spark.inject("loads_for_ever")
    spark.inject("crash", {"after": 0.1, "exit": 7, "lines": ["CUDA out of memory"]})
    done = spark.docker("run", "--name", "x", "image", *MODEL, str(spark.vllm_port))
    assert done.returncode == 7
    assert "CUDA out of memory" in done.stdout
    assert not models(spark)


def test_a_full_disk(spark):
    spark.inject("disk_full")
    done = spark.docker("run", "-d", "image")
    assert done.returncode == 125
    assert "no space left" in done.stderr
    assert spark.call("df", "-Pk", ".").stdout.splitlines()[1].split()[3] == "0"


def test_secrets_of_an_env_file_are_in_no_process_list(spark):
    file = spark.home / "env"
    file.write_text("HF_TOKEN=not-for-eyes\n")
    words = ("run", "-d", "--name", "x", "--env-file", str(file), "image")
    spark.docker(*words, "sh", "-c", "echo $HF_TOKEN; sleep 600")
    until(lambda: "not-for-eyes" in spark.docker("logs", "x").stdout)
    assert not any("not-for-eyes" in line for line in spark.running())
    assert os.environ.get("HF_TOKEN") != "not-for-eyes"
