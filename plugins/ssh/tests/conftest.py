"""Machines with OpenSSH's own server, and the settings that point to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from spark_core_lab import sparks
from spark_core_lab.sparks.machine import Spark
from spark_core_ssh.machines import SshMachines
from spark_core_ssh.opening import open_machines
from spark_core_ssh.settings import MachineSettings, SshSettings


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def spark() -> Iterator[Spark]:
    if not Path(sparks.SSHD).exists():
        pytest.skip("openssh-server is not installed")
    with sparks.start(1) as (spark,):
        yield spark


@pytest.fixture
def settings(spark: Spark) -> Callable[..., SshSettings]:
    """Makes settings that reach the machine, but for what is given."""

    def make(**fields: Any) -> SshSettings:
        there = MachineSettings(name="spark1", host=spark.host, user=spark.user, port=spark.port)
        given = {"machines": (there,), "key": spark.key, "known_hosts": spark.known_hosts}
        return SshSettings.model_validate({**given, **fields})

    return make


@pytest.fixture
async def machines(settings: Callable[..., SshSettings]) -> AsyncIterator[SshMachines]:
    async with open_machines(settings()) as machines:
        yield machines
