"""A swarm of stand-ins behind a real sshd, in which an engine serves that is really one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import spark_core_coordination
import spark_core_promotion
import spark_core_ssh
from spark_core_lab import sparks
from spark_core_lab.sparks.machine import Spark as Machine
from spark_core_promotion.driving import Promotions
from spark_core_promotion.history import History

import spark_core.gateway.plugin
import spark_core.swaps.plugin
from spark_core import Spark
from spark_core.plugins import Plugin
from spark_core.testing.clock import ManualClock
from spark_core.testing.plugins import SparkOpener

PLUGINS = (
    Plugin("gateway", "spark-core", "0", module=spark_core.gateway.plugin),
    Plugin("swaps", "spark-core", "0", module=spark_core.swaps.plugin),
    Plugin("ssh", "spark-core-ssh", "0", module=spark_core_ssh),
    Plugin("coordination", "spark-core-coordination", "0", module=spark_core_coordination),
    Plugin("promotion", "spark-core-promotion", "0", module=spark_core_promotion),
)

SOURCE = Path(__file__).with_name("engine.c")

#: Each binary that tests ship, by what it is compiled with.
KINDS = {
    "old": ("1", "GUARD"),
    "new": ("2", "GUARD"),
    "without": ("2",),
    "text": ("2", "TEXT"),
    "crashing": ("2", "GUARD", "CRASHES"),
    "mute": ("2", "GUARD", "MUTE"),
    "lying": ("2", "GUARD", "LIES"),
}


#: Programs that tests let do something else.
STAND_INS = ("sha256sum", "mv", "cp", "sync", "truncate", "chmod", "stat", "rm", "cat", "uname")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles the engine of a kind, once."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("engines")

    def engine(kind: str) -> Path:
        binary = folder / kind
        if not binary.exists():
            version, *more = KINDS[kind]
            words = [f'-DVERSION="{version}"', *(f"-D{name}" for name in more)]
            command = ["gcc", "-O0", *words, "-o", str(binary), str(SOURCE)]
            subprocess.run(command, check=True, capture_output=True)
        return binary

    return engine


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return found


@dataclass
class Office:
    """An engine that serves on the first machine, and what a test does to it and sees of it."""

    machines: tuple[Machine, ...]
    folder: Path
    engines: Callable[[str], Path]
    opener: SparkOpener
    patch: pytest.MonkeyPatch
    plan: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def machine(self) -> Machine:
        return self.machines[0]

    @property
    def swarm(self) -> Path:
        return self.machine.folder.parent / "swarm"

    @property
    def home(self) -> Path:
        return self.machine.home / "engine"

    @property
    def destination(self) -> Path:
        return self.home / "bin" / "engine"

    @property
    def socket(self) -> Path:
        return self.home / "s"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def binary(self) -> Path:
        """What the plan ships."""
        return self.folder / "engine"

    def furnish(self) -> None:
        """Let the old engine serve, whatever a test before did."""
        self.ship("new")
        if not self.home.exists():
            self._begin()
        (self.data / "format").write_text("1")
        if not self._is_tidy():
            self._reset()
        for file in (*self.backups(), *self.left_over()):
            file.unlink()
        for name in ("engine", "graph-os", "messaging"):
            (self.swarm / name / "updates").unlink(missing_ok=True)
        for machine in self.machines:
            shutil.rmtree(machine.home / ".spark-core", ignore_errors=True)
        assert self.is_old()

    def tidy(self) -> None:
        """Let nothing go wrong any more."""
        for machine in self.machines:
            machine.start_sshd()
            for name in ("update_fails", "update_dies", "no_swarm"):
                (machine.folder / "faults" / name).unlink(missing_ok=True)
            for name in STAND_INS:
                (machine.folder / "bin" / name).unlink(missing_ok=True)
        for name in ("migration", "hangs"):
            (self.data / name).unlink(missing_ok=True)

    def breaks(self, program: str, text: str = "exit 1") -> None:
        """Let *program* on the machine do something else."""
        file = self.machine.folder / "bin" / program
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def _is_tidy(self) -> bool:
        return self.is_old() and self.start_period_s() == 2 and not self.environment_changed()

    def environment_changed(self) -> bool:
        service = json.loads((self.swarm / "graph-os" / "service").read_text())
        inside = service["Spec"]["TaskTemplate"]["ContainerSpec"]
        return bool(inside["Env"] != ["GRAPH_BACKEND=fanout"])

    def _reset(self) -> None:
        new = self.destination.with_name(".reset")
        shutil.copy(self.engines("old"), new)
        new.chmod(0o750)
        new.replace(self.destination)
        update = ("service", "update", "--force", "--update-order", "stop-first")
        self.machine.docker(*update, "--health-start-period", "2s", "engine")
        if self.environment_changed():
            self.machine.docker(*update, "--env-add", "GRAPH_BACKEND=fanout", "graph-os")
        until(self.settled)

    def settled(self) -> bool:
        """Whether the services are as they are to be."""
        for name in ("engine", "graph-os", "messaging"):
            service = json.loads((self.swarm / name / "service").read_text())
            newest = next(iter(self.tasks(name)), None)
            if newest is None:
                return False
            same = newest["Spec"] == service["Spec"]["TaskTemplate"]
            if not same or newest["Status"]["State"] != "running":
                return False
        return True

    def _begin(self) -> None:
        for each in (self.destination.parent, self.data):
            each.mkdir(parents=True)
        shutil.copy(self.engines("old"), self.destination)
        self.destination.chmod(0o750)
        (self.data / "format").write_text("1")
        shutil.copy(self.engines("old"), self.home / "client")
        ask = f"{self.home}/client {self.socket} version"
        health = ("--health-cmd", ask, "--health-interval", "100ms", "--health-retries", "2")
        self.create(
            "engine",
            *(*health, "--health-start-period", "2s", "--health-timeout", "5s"),
            command=[str(self.destination), str(self.socket), str(self.data)],
        )
        for name in ("graph-os", "messaging"):
            self.create(name, "--env", "GRAPH_BACKEND=fanout", command=["sleep", "infinity"])
        until(self.settled)

    def create(self, name: str, *options: str, command: Sequence[str]) -> None:
        where = ("--constraint", f"node.hostname=={self.machine.name}")
        words = ("create", "--name", name, *where, *options, "image", *command)
        done = self.machine.docker("service", *words)
        assert done.returncode == 0, done.stderr

    def ship(self, kind: str) -> None:
        """Let the plan ship an engine of that kind."""
        new = self.binary.with_name(".engine")
        shutil.copy(self.engines(kind), new)
        new.replace(self.binary)

    # ------------------------------------------------------------------------------ looking

    def runs(self, name: str) -> bool:
        tasks = self.tasks(name)
        return bool(tasks) and tasks[0]["Status"]["State"] == "running"

    def tasks(self, name: str = "engine") -> list[dict[str, Any]]:
        folder = self.swarm / name / "tasks"
        files = sorted(folder.glob("[0-9]*"), key=lambda f: int(f.name), reverse=True)
        return [json.loads(file.read_text()) for file in files]

    def updates(self, name: str = "engine") -> list[str]:
        """What ``docker service update`` was told of a service."""
        file = self.swarm / name / "updates"
        lines = file.read_text().splitlines() if file.exists() else []
        return [" ".join(json.loads(line)) for line in lines]

    def start_period_s(self) -> float:
        file = self.swarm / "engine" / "service"
        spec = json.loads(file.read_text())["Spec"]["TaskTemplate"]["ContainerSpec"]
        return float(spec["Healthcheck"]["StartPeriod"]) / 1e9

    def ask(self, *words: str) -> str:
        command = [str(self.home / "client"), str(self.socket), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()

    def is_old(self) -> bool:
        """The old binary is in place, byte for byte, and serves."""
        same = digest(self.destination) == digest(self.engines("old"))
        return same and self.runs("engine") and self.ask("version") == "1"

    def is_new(self) -> bool:
        """The new binary is in place, and serves."""
        same = digest(self.destination) == digest(self.binary)
        return same and self.runs("engine") and self.ask("version") == "2"

    def backups(self) -> list[Path]:
        return sorted(self.destination.parent.glob("engine.bak-*"))

    def left_over(self) -> list[Path]:
        """What lies beside the destination and its backups."""
        return sorted({*self.destination.parent.iterdir()} - {self.destination, *self.backups()})

    # ------------------------------------------------------------------------------ promoting

    def toml(self) -> str:
        client = str(self.home / "client")
        ask = {"on": "spark1", "timeout_s": 20}
        plan = {
            "binary": str(self.binary),
            "destination": str(self.destination),
            "guard_symbols": ["FinanceAvellaneda"],
            "nodes": ["spark1"],
            "manager": "spark1",
            "service": "engine",
            "consumers": [{"service": "graph-os"}, {"service": "messaging"}],
            "verify": [
                {**ask, "name": "version", "command": [client, str(self.socket), "version"]},
                {
                    **ask,
                    "name": "commons",
                    "command": ["sh", "-c", f'{client} "$ENGINE_SOCKET" graph "$VERIFY_GRAPH"'],
                    "expect": "graph __commons__ has 3",
                },
                {
                    **ask,
                    "name": "nonsense",
                    "command": [client, str(self.socket), "drop everything"],
                    "rejected": True,
                    "expect": "error: unknown query",
                },
            ],
            **self.plan,
        }
        settings = {
            "poll_s": 0.05,
            "stall_s": 30,
            "watch_s": 60,
            "reach_s": 3,
            "socket": str(self.socket),
            "normal_start_period_s": 2,
            **self.settings,
        }
        ssh = {
            "key": str(self.machine.key),
            "known_hosts": str(self.machine.known_hosts),
            "machines": [
                {"name": m.name, "host": m.host, "port": m.port, "user": m.user}
                for m in self.machines
            ],
        }
        lines = ["[plugins.promotion]", *_lines(settings)]
        lines += ["[plugins.promotion.plans.engine]", *_lines(plan), "[plugins.ssh]", *_lines(ssh)]
        return "\n".join(lines)

    @asynccontextmanager
    async def open(self, environ: dict[str, str] | None = None) -> AsyncIterator[Spark]:
        async with self.opener(*PLUGINS, toml=self.toml(), environ=environ) as spark:
            yield spark

    async def promote(self, operation: str = "promote", **request: Any) -> list[Any]:
        """Every event, and the receipt."""
        async with self.open() as spark:
            return [each async for each in spark.stream(operation, {"name": "engine", **request})]

    def at(self, phase: str, action: Callable[[], object]) -> None:
        """Do *action* when a promotion has reached *phase*, before it does anything else."""
        reach = History.reach

        async def reached(history: History, promotion: Any, now: Any, lease: Any) -> None:
            await reach(history, promotion, now, lease)
            if now == phase:
                await asyncio.to_thread(action)

        self.patch.setattr(History, "reach", reached)

    def put(self, content: bytes) -> None:
        """Somebody else changes the destination."""
        new = self.destination.with_name("theirs")
        new.write_bytes(content)
        new.replace(self.destination)

    async def status(self) -> Any:
        async with self.open() as spark:
            return await spark.call("promote.status", {"name": "engine"})


def _lines(table: dict[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


@pytest.fixture(scope="session")
def stand(engines: Callable[[str], Path]) -> Iterator[Callable[[int], tuple[Machine, ...]]]:
    """Machines with an engine that serves, made once; so many of them."""
    if not Path(sparks.SSHD).exists():
        pytest.skip("openssh-server is not installed")
    made: dict[int, tuple[Machine, ...]] = {}
    with ExitStack() as stack:

        def stand(count: int) -> tuple[Machine, ...]:
            if count not in made:
                made[count] = stack.enter_context(sparks.start(count))
            return made[count]

        yield stand


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose state has its tables: to make them takes longer than most tests."""
    home = tmp_path_factory.mktemp("migrated")

    async def make() -> None:
        async with SparkOpener(home, ManualClock())(*PLUGINS) as spark:
            await spark.resolver.get(Promotions)

    asyncio.run(make())
    return home / ".spark"


@pytest.fixture
def make_office(
    migrated: Path,
    stand: Callable[[int], tuple[Machine, ...]],
    tmp_path: Path,
    engines: Callable[[str], Path],
    spark_open: SparkOpener,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[int], Office]]:
    """Makes an office of so many machines, as if nothing had ever been promoted in it."""
    made: list[Office] = []

    def make(count: int) -> Office:
        office = Office(stand(count), tmp_path, engines, spark_open, monkeypatch)
        office.furnish()
        shutil.copytree(migrated, tmp_path / ".spark")
        made.append(office)
        return office

    yield make
    for office in made:
        office.tidy()


@pytest.fixture
def office(make_office: Callable[[int], Office]) -> Office:
    """One machine."""
    return make_office(1)
