"""Start-up: the shell command and the import, against the least that Python takes.

::

    python tests/benchmarks/startup.py [--quick]

Each command is run in turn, many times over; the median counts. ``spark --help`` loads every
installed plugin, since each may bring commands. CPU is user and system time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tables import show


@dataclass
class Command:
    """A command line, and the milliseconds of wall and of CPU time that each run took."""

    name: str
    words: list[str]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, folder: str) -> None:
        before, started = os.times(), time.perf_counter()
        subprocess.run(self.words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        self.wall.append((time.perf_counter() - started) * 1000)
        after = os.times()
        user = after.children_user - before.children_user
        self.cpu.append((user + after.children_system - before.children_system) * 1000)


def spark() -> str:
    """The command that was installed beside this Python."""
    beside = Path(sys.executable).with_name("spark")
    found = str(beside) if beside.exists() else shutil.which("spark")
    if found is None:
        raise SystemExit("the command spark is not installed")
    return found


def run(quick: bool = False) -> None:
    """Measure and print medians and ratios."""
    python = [sys.executable, "-c"]
    commands = [
        Command("python -c pass", [*python, "pass"]),
        Command("spark --help", [spark(), "--help"]),
        Command("import httpx", [*python, "import httpx"]),
        Command("import spark_core", [*python, "import spark_core"]),
        Command("from spark_core import open", [*python, "from spark_core import open"]),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for command in commands:
            command.run(folder)  # the first run writes byte code
        for one in commands:
            one.wall.clear(), one.cpu.clear()
        for _ in range(5 if quick else 25):
            for command in commands:
                command.run(folder)
    least, _, httpx, *_ = (median(command.wall) for command in commands)
    rows = [
        (c.name, f"{median(c.wall):.0f}", f"{min(c.wall):.0f}", f"{median(c.cpu):.0f}",
         f"{median(c.wall) / least:.1f}", f"{median(c.wall) / httpx:.2f}")
        for c in commands
    ]  # fmt: skip
    columns = ("", "median ms", "best ms", "CPU ms", "of python -c pass", "of import httpx")
    title = "Start-up (target: spark --help in 300 ms, import spark_core in 1.5 of httpx)"
    show(title, columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="5 runs of each instead of 25")
    run(parser.parse_args().quick)


if __name__ == "__main__":
    main()
