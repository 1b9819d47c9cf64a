"""A virtual environment, and what is run in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .distributions import ROOT

#: Variables that begin so are settings of ours, or steer Python.
UNSET = ("SPARK_", "QDRANT_", "CRM_", "BIND_PORT", "PYTHON")


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty folder that its commands run in."""

    path: Path
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        """As in a shell that has activated it; nothing of ours is set."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(UNSET)}
        return {
            **kept,
            "PATH": f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.path),
            "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, *words: str, cwd: Path | None = None, code: int = 0) -> str:
        """What the command writes; it must end with *code*."""
        done = subprocess.run(
            words, cwd=cwd or self.home, env=self.variables, text=True, capture_output=True
        )
        assert done.returncode == code, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def pip(self, *words: str) -> str:
        """Run pip."""
        return self.run("python", "-m", "pip", *words)

    @contextmanager
    def installed(self, wheel: Path) -> Iterator[None]:
        """Have *wheel* installed while the block runs, and not a byte from elsewhere."""
        self.pip("install", "-q", "--no-index", str(wheel))
        try:
            yield
        finally:
            self.pip("uninstall", "-q", "-y", wheel.name.partition("-")[0])

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run ``spark serve``; the address it serves at."""
        command = ["spark", "serve", "--port", "0", "--workers", "1"]
        with subprocess.Popen(
            command, cwd=self.home, env=self.variables, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield next(w for w in process.stdout.readline().split() if w.startswith("http"))
            finally:
                process.terminate()
