"""Runs ``spark serve`` for a test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["served"]


@contextmanager
def served(folder: Path, toml: str, workers: int) -> Iterator[str]:
    """The address of ``spark serve`` with *toml* as its settings, in *folder*."""
    (folder / "spark.toml").write_text(toml)
    command = [sys.executable, "-m", "spark_core_cli", "serve", "--port=0", f"--workers={workers}"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            server.terminate()
