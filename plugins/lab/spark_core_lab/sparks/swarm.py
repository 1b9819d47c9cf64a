"""Services of the stand-in for ``docker``: what they are to be, and the tasks that they have.

Each machine of a test is a node of one swarm, and each can manage it. A service is a file in
docker's own shape; :mod:`.orchestrator` makes it so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .containers import PATIENCE, fail, now
from .place import alive, fault, here, locked, read_json, write_json

__all__ = ["inspect_tasks", "node_of", "node_row", "service", "services_of", "tasks_of"]

SECOND = 10**9

#: Tasks that are remembered of each service, as docker does by default.
HISTORY = 5

#: The one format in which a service is shown.
FORCED = "{{.Spec.TaskTemplate.ForceUpdate}}"


def services_of(top: Path) -> Path:
    """Where the services of the swarm lie whose machines' folders are in *top*."""
    return top / "swarm"


def node_of(machine: Path) -> str:
    """The id of a machine as a node."""
    return f"node{machine.name}"


def node_row() -> dict[str, Any]:
    """What ``docker info`` tells of this machine."""
    state = "inactive" if fault("no_swarm") else "active"
    number = "" if fault("no_swarm") else node_of(here())
    return {"Name": here().name, "Swarm": {"NodeID": number, "LocalNodeState": state}}


def folder_of(name: str) -> Path:
    """Where the service *name* lies; it must be there."""
    folder = services_of(here().parent) / name
    if not (folder / "service").exists():
        fail(f"Error: no such service: {name}")
    return folder


def tasks_of(folder: Path) -> list[dict[str, Any]]:
    """Every task of a service that is remembered, the newest first."""
    files = sorted((folder / "tasks").glob("[0-9]*"), key=lambda f: int(f.name), reverse=True)
    return [task for file in files[: HISTORY + 1] if (task := read_json(file))]


# ----------------------------------------------------------------------------------- commands


def parser(command: str) -> argparse.ArgumentParser:
    """One that ends as docker does where it is used wrongly."""
    made = argparse.ArgumentParser(prog=f"docker service {command}", add_help=False)
    made.error = lambda message: fail(f"docker service {command}: {message}", 125)  # type: ignore[method-assign]
    made.add_argument("-d", "--detach", action="store_true")
    for name in ("--update-order", "--update-failure-action"):
        made.add_argument(name)
    for name in ("--health-cmd", "--health-interval", "--health-timeout", "--health-start-period"):
        made.add_argument(name)
    made.add_argument("--health-retries", type=int)
    return made


def duration(text: str) -> int:
    """Nanoseconds, of what Go writes."""
    parts = re.findall(r"([\d.]+)(ms|s|m|h)", text)
    if not parts or "".join(map("".join, parts)) != text:
        fail(f'invalid argument "{text}": time: invalid duration', 125)
    units = {"ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
    return sum(int(float(number) * units[unit]) for number, unit in parts)


def change(spec: dict[str, Any], given: argparse.Namespace) -> None:
    """Do to *spec* what options say."""
    health = spec["TaskTemplate"]["ContainerSpec"].setdefault("Healthcheck", {})
    if given.health_cmd is not None:
        health["Test"] = ["CMD-SHELL", given.health_cmd]
    for key in ("Interval", "Timeout", "StartPeriod"):
        option = "health_" + re.sub(r"(?<=.)([A-Z])", r"_\1", key).lower()
        if (text := getattr(given, option)) is not None:
            health[key] = duration(text)
    if given.health_retries is not None:
        health["Retries"] = given.health_retries
    if given.update_order:
        spec["UpdateConfig"]["Order"] = given.update_order
    if given.update_failure_action:
        spec["UpdateConfig"]["FailureAction"] = given.update_failure_action


def create(words: Sequence[str]) -> int:
    """``docker service create``"""
    options = parser("create")
    options.add_argument("--name", required=True)
    options.add_argument("--replicas", type=int, default=1)
    for name in ("--env", "--constraint", "--mount", "--label", "--network"):
        options.add_argument(name, action="append", default=[])
    options.add_argument("image")
    options.add_argument("command", nargs=argparse.REMAINDER)
    given = options.parse_args(words)
    folder = services_of(here().parent) / given.name
    if (folder / "service").exists():
        fail(f"Error response from daemon: name conflicts with an existing object: {given.name}")
    (folder / "tasks").mkdir(parents=True)
    inside = {"Image": given.image, "Args": given.command, "Env": given.env}
    spec: dict[str, Any] = {
        "Name": given.name,
        "TaskTemplate": {
            "ContainerSpec": inside,
            "Placement": {"Constraints": given.constraint},
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": given.replicas}},
        "UpdateConfig": {"Order": "stop-first", "FailureAction": "pause"},
    }
    change(spec, given)
    number = os.urandom(12).hex()
    made = {"ID": number, "Version": {"Index": 1}, "CreatedAt": now(), "Spec": spec}
    write_json(folder / "service", made)
    with (folder / "orchestrator.log").open("ab") as log:
        process = subprocess.Popen(
            [str(here() / "bin" / "docker"), "orchestrate", given.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    write_json(folder / "pid", process.pid)
    print(number)
    return 0


def update(words: Sequence[str]) -> int:
    """``docker service update``"""
    options = parser("update")
    options.add_argument("--force", action="store_true")
    for name in ("--env-add", "--env-rm"):
        options.add_argument(name, action="append", default=[])
    options.add_argument("name")
    given = options.parse_args(words)
    folder = folder_of(given.name)
    with (folder / "updates").open("a") as file:
        file.write(json.dumps(list(words)) + "\n")
    if fault("update_fails"):
        fail("Error response from daemon: rpc error: code = Unknown desc = update out of sequence")
    with locked("swarm"):
        service = read_json(folder / "service")
        spec = service["Spec"]
        change(spec, given)
        template = spec["TaskTemplate"]
        gone = {*given.env_rm, *(pair.partition("=")[0] for pair in given.env_add)}
        kept = [e for e in template["ContainerSpec"]["Env"] if e.partition("=")[0] not in gone]
        template["ContainerSpec"]["Env"] = [*kept, *given.env_add]
        template["ForceUpdate"] += given.force
        service["Version"]["Index"] += 1
        write_json(folder / "service", service)
    print(given.name)
    if fault("update_dies"):  # it was done, and nobody is told
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def inspect(words: Sequence[str]) -> int:
    """``docker service inspect``"""
    found: list[Any] = []
    if words[:2] == ["--format", FORCED]:
        print(read_json(folder_of(words[2]) / "service")["Spec"]["TaskTemplate"]["ForceUpdate"])
        return 0
    for name in words:
        folder = services_of(here().parent) / name
        if (known := read_json(folder / "service")) is None:
            print(json.dumps(found, indent=4))
            fail(f"Error: no such service: {name}")
        found.append(known)
    print(json.dumps(found, indent=4))
    return 0


def ps(words: Sequence[str]) -> int:
    """``docker service ps``, as ids"""
    options = argparse.ArgumentParser(prog="docker service ps", add_help=False)
    options.add_argument("-q", "--quiet", action="store_true", required=True)
    options.add_argument("--no-trunc", action="store_true")
    options.add_argument("name")
    given = options.parse_args(words)
    for task in tasks_of(folder_of(given.name)):
        print(task["ID"])
    return 0


def inspect_tasks(words: Sequence[str]) -> int:
    """``docker inspect --type task``"""
    folders = services_of(here().parent).glob("*/")
    known = {task["ID"]: task for folder in folders for task in tasks_of(folder)}
    print(json.dumps([known[name] for name in words if name in known], indent=4))
    if missing := [name for name in words if name not in known]:
        fail(f"Error: No such task: {missing[0]}")
    return 0


def remove(words: Sequence[str]) -> int:
    """``docker service rm``"""
    for name in words:
        folder = folder_of(name)
        (folder / "service").unlink()
        deadline = time.monotonic() + PATIENCE
        while alive(read_json(folder / "pid")) and time.monotonic() < deadline:
            time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)
        print(name)
    return 0


def service(words: Sequence[str]) -> int:
    """``docker service``"""
    commands = {"create": create, "update": update, "inspect": inspect, "ps": ps, "rm": remove}
    if not words or words[0] not in commands:
        fail(f"docker service: {words[:1]} is not a command (of this stand-in).")
    if fault("no_swarm"):
        fail("Error response from daemon: This node is not a swarm manager.")
    return commands[words[0]](words[1:])
