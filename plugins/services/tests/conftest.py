"""Services on machines that are like Sparks, reached through a real sshd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import spark_core_services
import spark_core_ssh
from spark_core_lab import sparks
from spark_core_lab.sparks.machine import Spark as Machine

import spark_core.gateway.plugin
from spark_core import Spark
from spark_core.plugins import Plugin
from spark_core.testing.plugins import SparkOpener

Open = Callable[..., AbstractAsyncContextManager[Spark]]

PLUGINS = (
    Plugin("gateway", "spark-core", "0", module=spark_core.gateway.plugin),
    Plugin("services", "spark-core-services", "0", module=spark_core_services),
    Plugin("ssh", "spark-core-ssh", "0", module=spark_core_ssh),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def machines() -> Iterator[tuple[Machine, ...]]:
    """Two of them."""
    if not Path(sparks.SSHD).exists():
        pytest.skip("openssh-server is not installed")
    with sparks.start(2) as made:
        for machine in made:
            systemd(machine)
        yield made


@pytest.fixture
def machine(machines: tuple[Machine, ...]) -> Machine:
    """The first."""
    return machines[0]


def systemd(machine: Machine) -> None:
    """Stand-ins for ``systemctl`` and ``journalctl``: a unit is a file with its properties."""
    program(
        machine,
        "systemctl",
        """
        [ "$1" = --no-ask-password ] && shift
        [ "$1" = --user ] && shift || { echo "Access denied" >&2; exit 4; }
        unit=$HOME/units/$2
        case $1 in
        show) if [ -e "$unit" ]; then cat "$unit"; else echo LoadState=not-found; fi ;;
        start|restart) [ -e "$unit" ] || { echo "Unit $2 not found." >&2; exit 5; }
            id=$(cat /proc/sys/kernel/random/uuid)
            printf '%s\\n' LoadState=loaded ActiveState=active SubState=running \\
                InvocationID=$id ActiveEnterTimestamp=@1893456000 > "$unit" ;;
        stop) printf '%s\\n' LoadState=loaded ActiveState=inactive SubState=dead > "$unit" ;;
        esac
        """,
    )
    program(machine, "journalctl", 'echo "$@"')
    (machine.home / "units").mkdir()


def program(machine: Machine, name: str, text: str) -> None:
    """Put a program on *machine*."""
    file = machine.folder / "bin" / name
    file.write_text(f"#!/bin/sh\n{text}")
    file.chmod(0o755)


@pytest.fixture
def opened(spark_open: SparkOpener, machines: tuple[Machine, ...]) -> Open:
    """A Spark with these services, on these machines."""

    @asynccontextmanager
    async def opener(
        services: str = "", environ: dict[str, str] | None = None, **settings: Any
    ) -> AsyncIterator[Spark]:
        (spark_open.home / "services.yaml").write_text(f"services: {services or '{}'}\n")
        lines = [f"{name} = {value!r}" for name, value in settings.items()]
        toml = ["[plugins.services]", *lines, *_ssh(machines)]
        async with spark_open(*PLUGINS, toml="\n".join(toml), environ=environ) as spark:
            yield spark

    return opener


def _ssh(machines: tuple[Machine, ...]) -> Iterator[str]:
    key, known_hosts = machines[0].key, machines[0].known_hosts
    yield from ("[plugins.ssh]", f"key = '{key}'", f"known_hosts = '{known_hosts}'")
    for number, machine in enumerate(machines, 1):
        yield from ("[[plugins.ssh.machines]]", f"name = 'spark{number}'")
        yield from (
            f"host = '{machine.host}'",
            f"port = {machine.port}",
            f"user = '{machine.user}'",
        )


async def steps_of(
    spark: Spark, operation: str, request: dict[str, Any] | None = None
) -> list[Any]:
    """Every step of an action."""
    return [step async for step in spark.stream(operation, request)]
