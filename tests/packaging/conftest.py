"""Wheels of everything, and a fresh environment that they are installed into.

Both are made once. What ours depend on comes from wherever pip is configured to look; ours come
from the wheels alone.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .distributions import ADDITIONS, DEMO, ROOT
from .environment import Environment


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is in this folder; with pytest-xdist, one process does all of it."""
    here = Path(__file__).parent
    for item in (item for item in items if here in item.path.parents):
        item.add_marker(pytest.mark.packaging)
        if config.pluginmanager.has_plugin("xdist"):
            item.add_marker(pytest.mark.xdist_group("packaging"))


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
    environment.pip("install", "-q", *map(str, wheels))
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
