"""What processes use: CPU seconds and memory, read from the kernel."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_seconds", "peak_mib"]

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
