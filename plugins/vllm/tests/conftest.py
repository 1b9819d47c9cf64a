"""Two machines with OpenSSH's own server, and the model host on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from spark_core_lab import sparks
from spark_core_lab.sparks.machine import Spark
from spark_core_ssh.opening import open_machines
from spark_core_ssh.settings import MachineSettings, SshSettings
from spark_core_vllm.model_host import VllmHost, open_model_host
from spark_core_vllm.settings import VllmSettings

#: A command that is no launch-cluster.sh, and says everything itself.
TEMPLATE = (
    *("docker", "run", "--rm", "--name", "{container}", "--label", "{label}", "{mount}"),
    *("--env-file", "{env_file}", "image"),
    *("vllm", "serve", "{model}", "--port", "{port}", "{args}"),
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def pair() -> Iterator[tuple[Spark, ...]]:
    if not Path(sparks.SSHD).exists():
        pytest.skip("openssh-server is not installed")
    with sparks.start(2) as machines:
        yield machines


class VllmRig:
    """Meddles with the machines behind the host's back."""

    def __init__(self, host: VllmHost, pair: tuple[Spark, ...]) -> None:
        self.host = host
        self.head, self.other = pair

    async def run_foreign(self) -> None:
        self.head.docker("run", "-d", "--name", "vllm_node", "image")

    async def cut(self, node: str) -> None:
        {spark.name: spark for spark in (self.head, self.other)}[node].stop_sshd()

    async def crash(self, *lines: str) -> None:
        self.head.inject("crash", {"exit": 1, "lines": lines})

    async def received(self) -> tuple[list[str], dict[str, str]]:
        while (found := self.head.received) is None:
            pass
        return found


@asynccontextmanager
async def open_rig(pair: tuple[Spark, ...], **launch: Any) -> AsyncIterator[VllmRig]:
    """A model host on *pair*, started by launch-cluster.sh unless *launch* says otherwise."""
    there = [MachineSettings(name=s.name, host=s.host, user=s.user, port=s.port) for s in pair]
    ssh = SshSettings.model_validate(
        {"machines": there, "key": pair[0].key, "known_hosts": pair[0].known_hosts}
    )
    how = launch or {"cluster": "~/launch-cluster.sh"}
    vllm = VllmSettings.model_validate({"port": pair[0].vllm_port, "launch": {"grace_s": 2, **how}})
    async with open_machines(ssh) as machines, open_model_host(machines, vllm) as host:
        yield VllmRig(host, pair)


@pytest.fixture
async def rig(pair: tuple[Spark, ...]) -> AsyncIterator[VllmRig]:
    async with open_rig(pair) as rig:
        yield rig
