"""A stand-in for ``docker``: its containers are processes of this machine.

It does what a test of a controller needs, with docker's own exit codes and words. Containers
outlive whoever started them, and end with their first process. There are no images: every name
is known, but for those in the fault ``missing_images``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .containers import PATIENCE, Container, containers, fail, find, need, now
from .lifetimes import begin, remove, start, stop, supervise
from .place import VARIABLE, fault, here, kill_group, locked, refresh_memory, write_json
from .swarm import inspect_tasks, node_row, service

# ------------------------------------------------------------------------------------ running


def parser(command: str) -> argparse.ArgumentParser:
    """One that ends as docker does where it is used wrongly."""
    made = argparse.ArgumentParser(prog=f"docker {command}", add_help=False, allow_abbrev=False)
    made.error = lambda message: fail(f"docker {command}: {message}", 125)  # type: ignore[method-assign]
    return made


#: Options of ``docker run`` that make no difference to a process.
WITH_VALUE = (
    *("--gpus", "--network", "--net", "--ipc", "--ulimit", "--shm-size", "--memory", "--device"),
    *("--memory-swap", "--pids-limit", "--cap-add", "--log-driver", "--log-opt", "--hostname"),
    *("--runtime", "--security-opt", "-w", "--workdir", "-u", "--user", "-p", "--publish"),
    *("--entrypoint", "--pull"),
)
WITHOUT_VALUE = ("--privileged", "--init", "--tty", "--interactive", "-i", "-t", "-it")


def run(words: Sequence[str]) -> int:
    """``docker run``"""
    options = parser("run")
    for name in WITH_VALUE:
        options.add_argument(name, action="append", dest="ignored")
    for name in WITHOUT_VALUE:
        options.add_argument(name, action="store_true", dest="also_ignored")
    options.add_argument("-d", "--detach", action="store_true")
    options.add_argument("--rm", action="store_true")
    options.add_argument("--name", default="")
    options.add_argument("--restart", default="no")
    for name in ("--label", "--env", "--env-file", "--volume"):
        short = {"--label": ["-l"], "--env": ["-e"], "--volume": ["-v"]}.get(name, [])
        options.add_argument(*short, name, action="append", default=[])
    options.add_argument("image")
    options.add_argument("command", nargs=argparse.REMAINDER)
    given = options.parse_args(words)
    if fault("disk_full"):
        fail("docker: Error response from daemon: mkdir: no space left on device.", 125)
    if given.image in (fault("missing_images") or ()):
        fail(f"docker: Error response from daemon: No such image: {given.image}", 125)
    if fault("starts_nothing"):
        print(os.urandom(32).hex())
        return 0
    container = make(given)
    begin(container)
    if given.detach:
        print(container.id)
        return 0
    return attach(container)


def make(given: argparse.Namespace) -> Container:
    """A container that does not run yet; its name is taken from now on."""
    with locked("docker"):
        number = os.urandom(32).hex()
        name = given.name or f"lab_{number[:8]}"
        if taken := find(name):
            fail(
                f'docker: Error response from daemon: Conflict. The container name "/{name}" is '
                f'already in use by container "{taken.id}".',
                125,
            )
        folder = here() / "containers" / number
        for part in ("members", "files"):
            (folder / part).mkdir(parents=True)
        (folder / "log").touch()
        config = {
            "Name": name,
            "Created": now(),
            "Image": given.image,
            "Command": given.command or ["sleep", "infinity"],
            "Environment": environment_of(given),
            "Labels": dict(label.partition("=")[::2] for label in given.label),
            "Volumes": given.volume,
            "Restart": given.restart,
            "Remove": given.rm,
        }
        write_json(folder / "config", config)
        write_json(folder / "state", {"Status": "created"})
        return Container(folder)


def environment_of(given: argparse.Namespace) -> dict[str, str]:
    """What the processes of a container see."""
    inherited = {VARIABLE: os.environ[VARIABLE]}
    path = f"{here() / 'image'}:/usr/local/bin:/usr/bin:/bin"
    lines = [line for file in given.env_file for line in Path(file).read_text().splitlines()]
    pairs = [line for line in lines if line.strip() and not line.startswith("#")]
    made = {**inherited, "PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}
    for pair in [*pairs, *given.env]:
        name, equals, value = pair.partition("=")
        made[name] = value if equals else os.environ.get(name, "")
    return made


def attach(container: Container) -> int:
    """Show its log until it ends; signals go to it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop(container, PATIENCE))
    follow(container, 0)
    return int(container.state.get("ExitCode", 0)) if container.folder.exists() else last_code


last_code = 0


def follow(container: Container, offset: int) -> None:
    """Copy its log until it has ended."""
    global last_code
    with container.log.open("rb") as log:
        log.seek(offset)
        while True:
            state = container.state
            last_code = int(state.get("ExitCode", last_code) or last_code)
            piece = log.read()
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            if not piece and state["Status"] in ("exited", "removing", "dead"):
                return
            time.sleep(0.01)


def logs(words: Sequence[str]) -> int:
    """``docker logs``"""
    options = parser("logs")
    options.add_argument("-f", "--follow", action="store_true")
    options.add_argument("--since")
    options.add_argument("-t", "--timestamps", action="store_true")
    options.add_argument("-n", "--tail", default="all")
    options.add_argument("name")
    given = options.parse_args(words)
    container = need(given.name)
    text = container.log.read_bytes()
    lines = text.splitlines(keepends=True)
    if given.timestamps:
        lines = list(stamped(container, lines, given.since or ""))
    shown = lines if given.tail == "all" else lines[-int(given.tail) :] if int(given.tail) else []
    sys.stdout.buffer.write(b"".join(shown))
    sys.stdout.buffer.flush()
    if given.follow:
        follow(container, len(text))
    return 0


def stamped(container: Container, lines: Sequence[bytes], since: str) -> Iterator[bytes]:
    """*lines* after *since* with times: each a nanosecond after the one before it, from the start.

    When they were really written nobody has noted; in their order they are.
    """
    second, _, fraction = container.state["StartedAt"].rstrip("Z").partition(".")
    for number, line in enumerate(lines, int(fraction)):
        moment = f"{second}.{number:09}Z"
        if moment >= since:
            yield moment.encode() + b" " + line


def execute(words: Sequence[str]) -> int:
    """``docker exec``"""
    options = parser("exec")
    options.add_argument("-d", "--detach", action="store_true")
    for name in ("-i", "-t", "-it", "--privileged"):
        options.add_argument(name, action="store_true", dest="ignored")
    for name in ("-w", "-u"):
        options.add_argument(name, dest="also_ignored")
    options.add_argument("-e", "--env", action="append", default=[])
    options.add_argument("name")
    options.add_argument("command", nargs=argparse.REMAINDER)
    given = options.parse_args(words)
    container = need(given.name)
    if not container.running:
        fail(f"Error response from daemon: container {container.id} is not running")
    if given.detach and os.fork():
        return 0
    out = leave() if given.detach else None
    variables = dict(pair.partition("=")[::2] for pair in given.env)
    process = container.spawn(given.command, variables, out)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(143))  # as docker's, it leaves the process alone
    code = process.wait()
    (container.folder / "members" / str(process.pid)).unlink(missing_ok=True)
    refresh_memory()
    return int(137 if code < 0 and not container.running else 128 - code if code < 0 else code)


def leave() -> int:
    """Be nobody's any more: whoever waits for what this program writes waits no longer."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    return null


# ----------------------------------------------------------------------------------- stopping


def each(words: Sequence[str], command: str, act: Callable[[Container, float], None]) -> int:
    """Do something to each container that is named; its name is printed."""
    options = parser(command)
    options.add_argument("-t", "--time", "--timeout", type=float, default=PATIENCE)
    options.add_argument("-s", "--signal")
    options.add_argument("names", nargs="+")
    given = options.parse_args(words)
    code = 0
    for name in given.names:
        container = find(name)
        if container is None:
            print(f"Error response from daemon: No such container: {name}", file=sys.stderr)
            code = 1
            continue
        act(container, given.time)
        print(name)
    return code


def kill(container: Container, grace: float) -> None:
    """``docker kill``"""
    stop(container, 0.0)


def restart(container: Container, grace: float) -> None:
    """``docker restart``"""
    stop(container, grace)
    start(container)


def pause(container: Container, grace: float) -> None:
    """``docker pause``"""
    for member in container.members():
        kill_group(member, signal.SIGSTOP)
    container.change(Status="paused")


def unpause(container: Container, grace: float) -> None:
    """``docker unpause``"""
    for member in container.members():
        kill_group(member, signal.SIGCONT)
    container.change(Status="running")


def wait(words: Sequence[str]) -> int:
    """``docker wait``"""
    container = need(words[0])
    code = 0
    while container.running:
        time.sleep(0.01)
        code = container.state.get("ExitCode", code)
    print(container.state.get("ExitCode", code))
    return 0


def rm(words: Sequence[str]) -> int:
    """``docker rm``"""
    options = parser("rm")
    options.add_argument("-f", "--force", action="store_true")
    options.add_argument("-v", "--volumes", action="store_true")
    options.add_argument("names", nargs="+")
    given = options.parse_args(words)
    code = 0
    for name in given.names:
        container = find(name)
        if container is None:
            print(f"Error response from daemon: No such container: {name}", file=sys.stderr)
            code = 0 if given.force else 1
            continue
        if container.running and not given.force:
            fail(f"Error response from daemon: cannot remove container {name!r}: it is running")
        stop(container, 0.0)
        remove(container)
        print(name)
    return code


# ------------------------------------------------------------------------------------ looking


def rendered(template: str, value: Any) -> str:
    """A Go template, as far as people use them on one line."""

    def look(path: str) -> Any:
        found = value
        for part in filter(None, path.split(".")):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def replace(match: re.Match[str]) -> str:
        words = match[1].split()
        if words[0] == "index":
            found = look(words[1]) or {}
            return str(found.get(words[2].strip('"'), ""))
        if words[0] == "json":
            return json.dumps(look(words[1]))
        found = look(words[0])
        return (
            str(found).lower()
            if isinstance(found, bool)
            else "<no value>"
            if found is None
            else str(found)
        )

    text = re.sub(r"\{\{\s*(.*?)\s*\}\}", replace, template)
    return text.replace(r"\t", "\t").replace(r"\n", "\n")


def inspect(words: Sequence[str]) -> int:
    """``docker inspect``"""
    options = parser("inspect")
    options.add_argument("-f", "--format")
    options.add_argument("--type")
    options.add_argument("names", nargs="+")
    given = options.parse_args(words)
    if given.type == "task":
        return inspect_tasks(given.names)
    found = [find(name) for name in given.names]
    shown = [container.inspected() for container in found if container is not None]
    if given.format:
        print(*(rendered(given.format, value) for value in shown), sep="\n", end="\n" * bool(shown))
    else:
        print(json.dumps(shown, indent=4))
    missing = [n for n, container in zip(given.names, found, strict=True) if container is None]
    for name in missing:
        print(f"Error: No such object: {name}", file=sys.stderr)
    return 1 if missing else 0


def ps(words: Sequence[str]) -> int:
    """``docker ps``"""
    options = parser("ps")
    options.add_argument("-a", "--all", action="store_true")
    options.add_argument("-q", "--quiet", action="store_true")
    options.add_argument("-aq", "-qa", action="store_true", dest="both")
    options.add_argument("--no-trunc", action="store_true")
    options.add_argument("-f", "--filter", action="append", default=[])
    options.add_argument("--format", default="{{.ID}}\\t{{.Image}}\\t{{.Status}}\\t{{.Names}}")
    given = options.parse_args(words)
    for container in containers():
        if not (container.running or given.all or given.both) or not fits(container, given.filter):
            continue
        number = container.id if given.no_trunc else container.id[:12]
        status = container.state["Status"]
        words_ = {"running": "Up 1 second", "exited": "Exited (0) 1 second ago"}
        row = {
            "ID": number,
            "Image": container.config["Image"],
            "Names": container.name,
            "State": status,
            "Status": words_.get(status, status),
            "Labels": ",".join(f"{k}={v}" for k, v in container.config["Labels"].items()),
        }
        print(number if given.quiet or given.both else rendered(given.format, row))
    return 0


def fits(container: Container, filters: Sequence[str]) -> bool:
    """Whether it is what all *filters* want."""
    labels = container.config["Labels"]
    for name, _, value in (text.partition("=") for text in filters):
        if name == "name" and not re.search(value, f"/{container.name}"):
            return False
        if name == "status" and container.state["Status"] != value:
            return False
        key, equals, wanted = value.partition("=")
        if name == "label" and (key not in labels or (equals and labels[key] != wanted)):
            return False
    return True


# ------------------------------------------------------------------------------------ the rest


def copy(words: Sequence[str]) -> int:
    """``docker cp``"""
    if words[0] == "-":
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            archive.extractall(place(words[1]), filter="data")
        return 0
    source, target = (place(word) for word in [w for w in words if not w.startswith("-")][:2])
    if not Path(source).exists():
        fail(f"Error response from daemon: Could not find the file {source} in container")
    if not Path(target).parent.is_dir() and str(here() / "containers") in target:
        Path(target).parent.mkdir(parents=True)
    return subprocess.call(["cp", "-RT" if source.endswith("/.") else "-R", source, target])


def place(word: str) -> str:
    """Where on this machine the end of a ``docker cp`` is."""
    name, colon, path = word.partition(":")
    if not colon or word.startswith(("/", ".")):
        return word
    return str(need(name).files / path.lstrip("/"))


def image(words: Sequence[str]) -> int:
    """``docker image inspect`` and ``docker pull``"""
    names = [word for word in words if not word.startswith(("-", "{")) and word != "inspect"]
    if any(name in (fault("missing_images") or ()) for name in names):
        fail(f"Error: No such image: {names[-1]}")
    print("sha256:" + "5a" * 32)
    return 0


def info(words: Sequence[str]) -> int:
    """``docker info``"""
    options = parser("info")
    options.add_argument("-f", "--format", default="{{json .}}")
    print(rendered(options.parse_args(words).format, node_row()))
    return 0


def orchestrate(words: Sequence[str]) -> int:
    """What a swarm's manager does, in a process of its own."""
    from .orchestrator import orchestrate

    return orchestrate(words)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "supervise": supervise,
    "logs": logs,
    "exec": execute,
    "stop": lambda words: each(words, "stop", stop),
    "kill": lambda words: each(words, "kill", kill),
    "start": lambda words: each(words, "start", start),
    "restart": lambda words: each(words, "restart", restart),
    "pause": lambda words: each(words, "pause", pause),
    "unpause": lambda words: each(words, "unpause", unpause),
    "wait": wait,
    "rm": rm,
    "inspect": inspect,
    "ps": ps,
    "cp": copy,
    "image": image,
    "pull": image,
    "info": info,
    "service": service,
    "orchestrate": orchestrate,
}


def main(words: Sequence[str]) -> int:
    """``docker``"""
    words = list(words)
    if words[:1] == ["container"]:
        words = words[1:]
    if not words or words[0] in ("version", "--version"):
        print("Docker version 0.0.0-lab, a stand-in of spark_core's lab: no containers, processes")
        return 0
    if words[0] not in COMMANDS:
        fail(f"docker: {words[0]!r} is not a docker command (of this stand-in).", 1)
    return COMMANDS[words[0]](words[1:])
