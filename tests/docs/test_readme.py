"""Whoever follows the README and the how-to pages gets what they show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..pages import Reader, blocks

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
PAGES = ("audio", "chat", "coordination", "embeddings", "redaction", "webhooks")
CONSUMERS = [ROOT / "docs" / "reference" / f"{name}.md" for name in PAGES]

#: What may stand beside `sh`: nothing, if it is run.
NOTES = {"", "serve", "lab", "example"}


@pytest.fixture
def reader(spark_home: Path) -> Reader:
    """Somebody in an empty folder who has this environment activated."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Reader(spark_home, {**os.environ, "PATH": path})


def start() -> list[str]:
    """The commands of the section that a newcomer reads first."""
    section = README.read_text("utf-8").partition("\n## Start\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)


def test_two_lines_are_all_it_takes_to_start() -> None:
    """One sets up and ends with the demonstration, one sets up and ends with the tests."""
    demo, tests = start()
    assert "\n" not in demo + tests
    assert demo.endswith(" && .venv/bin/spark demo")
    assert " && .venv/bin/python -m pytest" in tests
    assert demo.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert tests.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_a_build_server_runs_the_second_line(tmp_path: Path) -> None:
    """`.ci/run` takes it from the README, and ends as it ends."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    text = README.read_text("utf-8")
    (tmp_path / "README.md").write_text(text.replace(start()[1], 'echo "in $PWD"; exit 7'))
    for program in ("apt-get", "sudo"):  # nothing is to be installed by a test
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], cwd="/", env=environ, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (7, f"in {tmp_path}")


@pytest.mark.slow
def test_the_first_line_ends_with_search_results(tmp_path: Path) -> None:
    """In a fresh clone and a fresh home directory, with nothing installed."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    home = tmp_path / "home"
    home.mkdir()
    environ = {**os.environ, "HOME": str(home)}
    done = subprocess.run(
        ["bash", "-c", start()[0]], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for mode in ("sparse", "dense", "hybrid"):
        assert f"({mode})\n    1. " in done.stdout


def test_the_readme_is_true(reader: Reader) -> None:
    """Everything after the two lines works when it is done in order."""
    places = [n for n, block in enumerate(blocks(README)) if block.text.strip() in start()]
    reader.follow(README, skip=places[-1] + 1)


@pytest.mark.parametrize("page", [*HOW_TO, *CONSUMERS], ids=lambda page: page.stem)
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


@pytest.mark.parametrize("page", [README, *HOW_TO, *CONSUMERS], ids=lambda page: page.stem)
def test_what_is_not_run_says_so(page: Path) -> None:
    """Shell commands are run by these tests, or are marked as an example."""
    assert {block.note for block in blocks(page) if block.language == "sh"} <= NOTES
