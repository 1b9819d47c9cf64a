"""How containers begin and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from .containers import PATIENCE, Container, fail, now
from .place import fault, here, journal, kill_group, refresh_memory, wait_until

__all__ = ["begin", "remove", "start", "stop", "supervise"]


def begin(container: Container) -> None:
    """Let it run, in a process of its own that outlives this one."""
    with container.log.open("ab") as out:
        subprocess.Popen(
            [str(here() / "bin" / "docker"), "supervise", container.id],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    while container.state["Status"] == "created":
        time.sleep(0.005)


def start(container: Container, grace: float = 0.0) -> None:
    """Let it run again."""
    if container.running:
        return
    (container.folder / "stopped").unlink(missing_ok=True)
    container.change(Status="created")
    begin(container)


def supervise(words: Sequence[str]) -> int:
    """What dockerd does: it runs the first process, again and again where that was asked."""
    container = Container(here() / "containers" / words[0])
    restarts = 0
    while True:
        journal("begins", container.id)
        process = container.spawn(container.config["Command"], {}, sys.stdout.buffer)
        container.change(
            Status="running", Pid=process.pid, StartedAt=now(), RestartCount=restarts, ExitCode=0
        )
        code = process.wait()
        code = 128 - code if code < 0 else code
        end_members(container)
        journal("ended", container.id)
        if container.config["Restart"] in ("no", "") or (container.folder / "stopped").exists():
            break
        if container.config["Restart"].startswith("on-failure") and code == 0:
            break
        restarts += 1
        container.change(Status="restarting", RestartCount=restarts, ExitCode=code)
        time.sleep(min(0.1 * 2**restarts, 2.0))
    container.change(Status="exited", Pid=0, ExitCode=code, FinishedAt=now())
    if container.config["Remove"]:
        time.sleep(0.05)  # whoever looks just now sees one that has exited, as with docker
        remove(container)
    return 0


def end_members(container: Container) -> None:
    """End what else runs in it; memory comes back then, and the port, unless it is to stay."""
    for member in container.members():
        kill_group(member)
        wait_until(time.monotonic() + PATIENCE, member)
        (container.folder / "members" / str(member)).unlink(missing_ok=True)
    refresh_memory()
    if port := fault("port_stays"):
        hold(int(port))


def hold(port: int) -> None:
    """Something that is no container takes *port*, for as long as the fault is there."""
    program = (
        "import os, socket, time; s = socket.socket(); s.setsockopt(1, 2, 1);"
        f"s.bind(('127.0.0.1', {port})); s.listen();\n"
        f"while os.path.exists({str(here() / 'faults' / 'port_stays')!r}): time.sleep(0.02)"
    )
    words = [sys.executable, "-I", "-S", "-c", program]
    null = subprocess.DEVNULL
    subprocess.Popen(words, stdin=null, stdout=null, stderr=null, start_new_session=True)


def stop(container: Container, grace: float) -> None:
    """Let it end, by force after *grace* seconds."""
    if not container.running:
        return
    if fault("container_stays"):
        fail(
            f"Error response from daemon: cannot stop container: {container.name}: tried to kill "
            "container, but did not receive an exit event"
        )
    (container.folder / "stopped").touch()
    pid = int(container.state.get("Pid") or 0)
    if pid:
        kill_group(pid, signal.SIGTERM)
        kill_group(pid, signal.SIGCONT)
        if not wait_until(time.monotonic() + grace, pid):
            kill_group(pid)
    deadline = time.monotonic() + PATIENCE
    while container.running and time.monotonic() < deadline:
        time.sleep(0.005)


def remove(container: Container) -> None:
    """Forget it, with its log."""
    gone = container.folder.with_name(f".{container.id}.{os.getpid()}")
    with suppress(OSError):
        container.folder.rename(gone)
        for folder, folders, files in os.walk(gone, topdown=False):
            for name in files:
                os.unlink(os.path.join(folder, name))
            for name in folders:
                os.rmdir(os.path.join(folder, name))
        gone.rmdir()
