"""Whoever follows the README and the how-to pages gets what they show."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from ..pages import Reader, blocks

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))

#: What may stand beside `sh`: nothing, if it is run.
NOTES = {"", "serve", "example"}


@pytest.fixture
def reader(spark_home: Path) -> Reader:
    """Somebody in an empty folder who has this environment activated."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Reader(spark_home, {**os.environ, "PATH": path})


def test_two_lines_are_all_it_takes_to_start() -> None:
    """One sets up and ends with the demonstration, one sets up and ends with the tests."""
    section = README.read_text("utf-8").partition("\n## Start\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^```sh\n(.*?)```$", section, re.MULTILINE | re.DOTALL)
    demo, tests = (command.removesuffix("\n") for command in commands)
    assert "\n" not in demo + tests
    assert demo.endswith(" && .venv/bin/spark demo")
    assert " && .venv/bin/python -m pytest" in tests
    assert demo.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert tests.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_readme_is_true(reader: Reader) -> None:
    """Everything after the two lines works when it is done in order."""
    start = [n for n, block in enumerate(blocks(README)) if block.text.startswith("python3 -m")]
    reader.follow(README, skip=start[-1] + 1)


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_is_true(reader: Reader, page: Path) -> None:
    """Each page works on its own."""
    reader.follow(page)


@pytest.mark.parametrize(
    "page",
    [README, *sorted(ROOT.glob("docs/**/*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path) -> None:
    """No page points to a file that is not there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [README, *HOW_TO], ids=lambda page: page.stem)
def test_what_is_not_run_says_so(page: Path) -> None:
    """Shell commands are run by these tests, or are marked as an example."""
    assert {block.note for block in blocks(page) if block.language == "sh"} <= NOTES
