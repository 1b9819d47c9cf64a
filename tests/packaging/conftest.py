"""Wheels of everything, and a fresh environment that they are installed into.

Both are made once. The environment's dependencies come from wherever pip is configured to look;
our own distributions come from the wheels alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tests" / "packages" / "spark_core_demo"

#: The folders of our distributions beside core, which is the root's.
ADDITIONS = sorted(p.parent for p in ROOT.glob("*/*/pyproject.toml") if p.parent != DEMO)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is in this folder is ``packaging``; pytest-xdist runs it in one process."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.packaging)


def project(folder: Path) -> dict[str, Any]:
    """The table ``[project]`` of *folder*."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


def package(folder: Path) -> Path:
    """The folder of the package that the distribution in *folder* holds."""
    return folder / project(folder)["name"].replace("-", "_")


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty folder that its commands run in."""

    path: Path
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        """As in a shell that has activated it; nothing of ours is set."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYTHON"))}
        path = f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "VIRTUAL_ENV": str(self.path)}

    def run(self, *words: str, cwd: Path | None = None, code: int = 0) -> str:
        """What the command writes; it must end with *code*."""
        done = subprocess.run(
            words, cwd=cwd or self.home, env=self.variables, text=True, capture_output=True
        )
        assert done.returncode == code, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def pip(self, *words: str) -> str:
        """Run pip."""
        return self.run("python", "-Im", "pip", "--disable-pip-version-check", *words)

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


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Path]]:
    """Builds wheels of folders."""

    def build(folders: Sequence[Path]) -> list[Path]:
        target = tmp_path_factory.mktemp("wheels")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q"]
        options = ["--no-deps", "--no-build-isolation", "-w", str(target)]
        subprocess.run([*pip, *options, *map(str, folders)], check=True)
        return sorted(target.iterdir())

    return build


@pytest.fixture(scope="session")
def wheels(wheel: Callable[..., list[Path]]) -> list[Path]:
    """The wheel of each of our distributions."""
    return wheel([ROOT, *ADDITIONS])


@pytest.fixture(scope="session")
def demo_wheel(wheel: Callable[..., list[Path]]) -> Path:
    """The wheel of the outsider's plugin."""
    return wheel([DEMO])[0]


@pytest.fixture(scope="session")
def fresh(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with our wheels and what they depend on."""
    environment = Environment(tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("home"))
    subprocess.run([sys.executable, "-m", "venv", environment.path], check=True)
    environment.pip("install", "-q", "-c", str(ROOT / "constraints.txt"), *map(str, wheels))
    return environment


@pytest.fixture
def demo(fresh: Environment, demo_wheel: Path) -> Iterator[Environment]:
    """The fresh environment, with the outsider's plugin in it for one test."""
    with fresh.installed(demo_wheel):
        yield fresh


@pytest.fixture
def plugin(wheel: Callable[..., list[Path]], tmp_path: Path) -> Callable[..., Path]:
    """Builds a plugin whose module is *code*; *name* is what it calls itself."""

    def build(module: str, code: str, name: str | None = None) -> Path:
        folder = tmp_path / module
        folder.mkdir()
        (folder / f"{module}.py").write_text(textwrap.dedent(code))
        (folder / "pyproject.toml").write_text(
            textwrap.dedent(
                f"""
                [build-system]
                requires = ["hatchling"]
                build-backend = "hatchling.build"
                [project]
                name = "{module}"
                version = "1.2.3"
                [project.entry-points.spark_core]
                {name or module} = "{module}"
                [tool.hatch.build.targets.wheel]
                only-include = ["{module}.py"]
                """
            )
        )
        return wheel([folder])[0]

    return build
