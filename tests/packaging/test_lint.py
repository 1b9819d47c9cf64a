"""The source passes its checks: they are part of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .distributions import ADDITIONS, DEMO, ROOT, package


def run(*words: str, cwd: Path = ROOT) -> None:
    """Run a tool; show what it says where it fails."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=cwd, text=True, capture_output=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_ruff_finds_nothing() -> None:
    """See ``[tool.ruff.lint]`` for the rules, and why some are left out."""
    run("ruff", "check", ".")


def test_the_format_is_ruffs() -> None:
    """`ruff format` makes it so."""
    run("ruff", "format", "--check", ".")


@pytest.mark.parametrize("folder", [ROOT, *ADDITIONS, DEMO], ids=lambda folder: folder.name)
def test_types_are_right(folder: Path) -> None:
    """Every package passes `mypy --strict`."""
    settings = ("--strict", "--config-file", str(ROOT / "pyproject.toml"))
    cache = ("--cache-dir", str(ROOT / ".mypy_cache"))
    run("mypy", *settings, *cache, "-p", package(folder).name, cwd=folder)
