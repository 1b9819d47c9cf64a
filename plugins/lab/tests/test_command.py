"""``spark lab`` as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib

import httpx
import pytest
from click.testing import CliRunner
from spark_core_lab.command import command

FREE = [f"--{name}-port=0" for name in ("vllm", "parakeet", "kokoro", "bge-m3")]
SPARK = [sys.executable, "-m", "spark_core_cli", "lab"]


def interruptible():
    # A test run in the background ignores SIGINT, and so would its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def spark_lab(tmp_path):
    """Runs it, and stops it as a person does."""
    running = []

    def run(*words):
        process = subprocess.Popen(
            [*SPARK, *words],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=interruptible,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        with process:
            process.kill()


def test_all_run_until_ctrl_c(spark_lab):
    """It says where, serves, and ends without a word of complaint."""
    process = spark_lab(*FREE, "--json", "--model", "one", "--model", "two")
    told = json.loads(process.stdout.readline())
    assert "stand-in" in told["note"]
    urls = {name: backend["url"] for name, backend in told["backends"].items()}
    assert set(urls) == {"vllm", "parakeet", "kokoro", "bge_m3"}
    with httpx.Client(trust_env=False, timeout=30) as client:
        for url in urls.values():
            assert client.get(f"{url}/health").status_code == 200
        models = client.get(f"{urls['vllm']}/v1/models").json()["data"]
    assert [model["id"] for model in models] == ["one", "two"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_what_it_prints_are_settings(spark_lab):
    process = spark_lab("--kokoro-port=0", "--bge-m3-port=0", "--only=kokoro", "--only=bge_m3")
    text = "".join(iter(process.stdout.readline, "or the environment:\n"))
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    assert text.startswith("Stand-ins are running")
    plugins = tomllib.loads(text.partition("spark.toml:")[2])["plugins"]
    assert set(plugins) == {"kokoro", "bge_m3"}
    for name, section in plugins.items():
        assert f"SPARK_PLUGINS_{name.upper()}_URL={section['url']}\n" in rest


def test_faults_are_set_from_the_start(spark_lab):
    fault = "vllm:503,times=1,path=/health"
    process = spark_lab("--vllm-port=0", "--only=vllm", "--fault", fault, "--json")
    url = json.loads(process.stdout.readline())["backends"]["vllm"]["url"]
    with httpx.Client(trust_env=False, timeout=30) as client:
        assert [client.get(f"{url}/health").status_code for _ in range(2)] == [503, 200]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fault", "vllm:fire"], "is not like"),
        (["--fault", "tts:hang"], "is not like"),
        (["--fault", "vllm:hang,times=0"], "greater than or equal to 1"),
        (["--only", "kokoro", "--fault", "vllm:hang"], "which does not run"),
    ],
)
def test_misuse_is_told(words, said):
    result = CliRunner().invoke(command, [*FREE, *words])
    assert result.exit_code == 2
    assert said in result.output


def test_a_taken_port_is_one_clear_line(spark_lab):
    process = spark_lab("--only=vllm", "--vllm-port=0", "--json")
    port = json.loads(process.stdout.readline())["backends"]["vllm"]["url"].rpartition(":")[2]
    other = spark_lab("--only=vllm", f"--vllm-port={port}")
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 1
    assert errors.startswith(f"error: cannot listen at 127.0.0.1 port {port}: ")
    assert "--vllm-port" in errors
