"""What processes use, read from the kernel; and a folder whose processes end with it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["cpu_seconds", "home", "peak_mib"]

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of process *pid*, those that have ended included."""
    # The name, which comes second, may hold anything: what follows the last bracket counts.
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid: int) -> float:
    """The most memory that process *pid* has had resident, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} is gone")


@contextmanager
def home() -> Iterator[Path]:
    """A temporary folder. The owners of the indexes in it end before it is deleted."""
    with TemporaryDirectory(prefix="spark-bench-") as name:
        try:
            yield Path(name)
        finally:
            for note in Path(name).rglob("owner.json"):
                _end(json.loads(note.read_text("utf-8"))["pid"])


def _end(pid: int) -> None:
    """Ask process *pid* to end, and see it end."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, signal.SIGTERM)
        while _state(pid) != "Z":
            time.sleep(0.05)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
