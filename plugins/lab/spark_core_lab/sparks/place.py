"""What the stand-in programs of a machine share: its folder, its faults, its memory.

Only the standard library is used here, and little of it: a ``docker`` that takes long to
start would make every test slow.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = [
    "GIB",
    "VARIABLE",
    "alive",
    "fault",
    "here",
    "journal",
    "kill_group",
    "locked",
    "read_json",
    "refresh_memory",
    "take_memory",
    "wait_until",
    "write_json",
]

#: Names the machine's folder, in the environment of all that runs on it.
VARIABLE = "SPARK_LAB_MACHINE"

GIB = 2**30
TOTAL_GIB = 119.0
FREE_GIB = 110.0


def here() -> Path:
    """The folder of the machine that this program runs on."""
    return Path(os.environ[VARIABLE])


def fault(name: str) -> Any:
    """The value of a fault that was set, or None."""
    return read_json(here() / "faults" / name)


def read_json(file: Path) -> Any:
    """What *file* holds, or None where there is none."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_json(file: Path, value: object) -> None:
    """Write *file* so that nobody ever reads half of it."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(json.dumps(value))
    new.replace(file)


def journal(what: str, container: str) -> None:
    """Write down what became of a container, in the order in which it happened."""
    with (here() / "journal").open("a") as file:
        file.write(json.dumps({"at": time.time(), "what": what, "container": container}) + "\n")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one program of this machine is in such a block at a time."""
    with (here() / f"{name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal the process group that *pid* leads, if it is still there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def take_memory(gib: float) -> None:
    """This process takes *gib* of the machine's memory until it ends."""
    write_json(here() / "memory" / str(os.getpid()), gib)
    refresh_memory()


def refresh_memory() -> None:
    """Let the machine's ``meminfo`` show what the processes that still run have taken."""
    with locked("memory"):
        taken = fault("memory_taken_gib") or 0.0
        for file in (here() / "memory").iterdir():
            if not file.name.isdigit():
                continue
            if alive(int(file.name)) or fault("memory_stays"):
                taken += read_json(file) or 0.0
            else:
                file.unlink(missing_ok=True)
        total, free = int(TOTAL_GIB * GIB / 1024), int((FREE_GIB - taken) * GIB / 1024)
        lines = {"MemTotal": total, "MemFree": free // 2, "MemAvailable": max(free, 0)}
        new = here() / f".meminfo.{os.getpid()}"
        new.write_text("".join(f"{name + ':':<16}{kib:>9} kB\n" for name, kib in lines.items()))
        new.replace(here() / "meminfo")


def wait_until(deadline: float, pid: int) -> bool:
    """Whether *pid* ended before the monotonic moment *deadline*."""
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
