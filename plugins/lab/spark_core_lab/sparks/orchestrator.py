"""Makes a service of the stand-in for ``docker`` what it is to be, as a swarm's manager does.

A task whose health check fails so often after its start period is killed, and another takes its
place; while the check never succeeded and the start period lasts, failing counts for nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .containers import Container, now
from .place import VARIABLE, here, kill_group, read_json, write_json
from .swarm import SECOND, node_of, services_of

__all__ = ["orchestrate"]

LOOK = 0.02
RESTART_DELAY = 0.2
GRACE = 3.0


def docker(machine: Path, *words: str) -> str:
    """Run ``docker`` on another machine of the swarm."""
    program = str(machine / "bin" / "docker")
    environment = {VARIABLE: str(machine), "PATH": f"{machine}/bin:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run([program, *words], env=environment, capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    return done.stdout.strip()


class Task:
    """One container of a service, and what is known of it."""

    def __init__(self, folder: Path, service: dict[str, Any], slot: int) -> None:
        self.template = service["Spec"]["TaskTemplate"]
        self.machine = place(self.template)
        self.id = os.urandom(12).hex()
        number = len(list((folder / "tasks").glob("[0-9]*"))) + 1
        self.file = folder / "tasks" / str(number)
        self.health = Health(self)
        self.row: dict[str, Any] = {
            "ID": self.id,
            "CreatedAt": now(),
            "ServiceID": service["ID"],
            "Slot": slot,
            "Spec": self.template,
            "NodeID": node_of(self.machine),
            "DesiredState": "running",
            "Status": {"State": "preparing", "Timestamp": now()},
        }
        write_json(self.file, self.row)
        self.container = self._begin(service["Spec"]["Name"], slot)
        self.tell("starting" if self.health.command else "running")

    def _begin(self, name: str, slot: int) -> Container:
        inside = self.template["ContainerSpec"]
        label = f"com.docker.swarm.service.name={name}"
        variables = [word for pair in inside["Env"] for word in ("--env", pair)]
        words = ["--name", f"{name}.{slot}.{self.id}", "--label", label, *variables]
        number = docker(self.machine, "run", "-d", *words, inside["Image"], *inside["Args"])
        container = Container(self.machine / "containers" / number)
        pid = container.state.get("Pid", 0)
        self.row["Status"]["ContainerStatus"] = {"ContainerID": number, "PID": pid, "ExitCode": 0}
        return container

    def tell(self, state: str, error: str = "") -> None:
        """Write down how it is."""
        if self.row["Status"]["State"] == state:
            return
        status = {**self.row["Status"], "State": state, "Timestamp": now()}
        if error:
            status["Err"] = error
        self.row["Status"] = status
        write_json(self.file, self.row)

    def goes_on(self) -> bool:
        """Look at it; False where it has ended, or was ended."""
        if not self.container.running:
            code = int(self.container.state.get("ExitCode", 0))
            self.row["Status"]["ContainerStatus"]["ExitCode"] = code
            self.row["DesiredState"] = "shutdown"
            if code:
                self.tell("failed", f"task: non-zero exit ({code})")
            else:
                self.tell("complete")
            return False
        if self.health.look() == "unhealthy":
            self.end("failed", "task: non-zero exit (137): dockerexec: unhealthy container")
            return False
        if self.health.status in ("", "healthy"):
            self.tell("running")
        return True

    def end(self, state: str = "shutdown", error: str = "") -> None:
        """Stop it."""
        self.row["DesiredState"] = "shutdown"
        write_json(self.file, self.row)
        docker(self.machine, "stop", "-t", str(int(GRACE)), self.container.id)
        self.tell(state, error)


class Health:
    """Runs a task's health check again and again."""

    def __init__(self, task: Task) -> None:
        declared = task.template["ContainerSpec"].get("Healthcheck") or {}
        self.command = list(declared.get("Test") or ())[1:]
        self.interval = declared.get("Interval", 30 * SECOND) / SECOND
        self.timeout = declared.get("Timeout", 30 * SECOND) / SECOND
        self.start_period = declared.get("StartPeriod", 0) / SECOND
        self.retries = declared.get("Retries") or 3
        self.status = "starting" if self.command else ""
        self._task = task
        self._failed = 0
        self._began = self._next = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None

    def look(self) -> str:
        """How it is: ``starting``, ``healthy``, ``unhealthy``, or nothing where none is asked."""
        if not self.command:
            return ""
        if self._process is None:
            if time.monotonic() >= self._next:
                self._asked = time.monotonic()
                command = ["sh", "-c", *self.command]
                self._process = self._task.container.spawn(command, {}, subprocess.DEVNULL)
        elif (code := self._process.poll()) is not None:
            self._count(code)
        elif time.monotonic() > self._asked + self.timeout:
            kill_group(self._process.pid)
            self._process.wait()
            self._count(1)
        return self.status

    def _count(self, code: int) -> None:
        assert self._process is not None
        members = self._task.container.folder / "members"
        (members / str(self._process.pid)).unlink(missing_ok=True)
        self._process, self._next = None, time.monotonic() + self.interval
        if code == 0:
            self.status, self._failed = "healthy", 0
        elif self.status == "healthy" or time.monotonic() > self._began + self.start_period:
            self._failed += 1
            if self._failed >= self.retries:
                self.status = "unhealthy"
        health = {"Status": self.status, "FailingStreak": self._failed}
        self._task.container.change(Health=health)


def place(template: dict[str, Any]) -> Path:
    """The machine that constraints name; this one where they name none."""
    for constraint in template["Placement"]["Constraints"]:
        name, _, value = constraint.replace(" ", "").partition("==")
        if name == "node.hostname":
            return here().parent / str(value)
    return here()


def orchestrate(words: Sequence[str]) -> int:
    """Keep a service as it is to be, until it is removed."""
    folder = services_of(here().parent) / words[0]
    current: dict[int, Task] = {}
    begin_at: dict[int, float] = {}
    while (service := read_json(folder / "service")) is not None:
        for slot in range(1, service["Spec"]["Mode"]["Replicated"]["Replicas"] + 1):
            task = current.get(slot)
            if task is None:
                if time.monotonic() >= begin_at.get(slot, 0.0):
                    current[slot] = Task(folder, service, slot)
            elif json.dumps(task.template) != json.dumps(service["Spec"]["TaskTemplate"]):
                current[slot] = replaced(task, folder, service, slot)
            elif not task.goes_on():
                del current[slot]
                begin_at[slot] = time.monotonic() + RESTART_DELAY
        time.sleep(LOOK)
    for task in current.values():
        task.end()
    return 0


def replaced(old: Task, folder: Path, service: dict[str, Any], slot: int) -> Task:
    """A task as the service is now, in the place of *old*."""
    if service["Spec"]["UpdateConfig"]["Order"] == "stop-first":
        old.end()
        return Task(folder, service, slot)
    new = Task(folder, service, slot)
    old.end()
    return new
