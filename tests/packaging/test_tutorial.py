"""The tutorial is true: its code is that of the example plugin, and its steps work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..pages import Reader, blocks
from .distributions import DEMO, ROOT
from .environment import Environment

PAGE = ROOT / "docs" / "tutorial" / "first-plugin.md"

#: Written on the way, and no part of the plugin.
PASSING = {"spark.toml"}


def test_its_code_is_the_code_of_the_example() -> None:
    """Every file, to the letter; only the empty ones are made by a command."""
    shown = {block.note: block.text for block in blocks(PAGE) if "." in block.note}
    written = {
        str(file.relative_to(DEMO)): file.read_text("utf-8")
        for file in DEMO.rglob("*")
        if file.is_file() and file.suffix in (".py", ".toml", ".md")
    }
    assert {name: shown[name] for name in shown if name not in PASSING} == written


@pytest.fixture
def without_demo(fresh: Environment) -> Iterator[Environment]:
    """The fresh environment, left as it was found."""
    yield fresh
    fresh.pip("uninstall", "-q", "-y", "spark-core-demo")


def test_its_steps_work(without_demo: Environment, tmp_path: Path) -> None:
    """Whoever follows the page gets what the page shows."""
    Reader(tmp_path, without_demo.variables).follow(PAGE)
