"""A test that is left out fails where CI is set, unless the machine may refuse what it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

@pytest.fixture
def missing():
    pytest.skip("there is no such program")

def test_by_fixture(missing): ...

def test_by_call():
    pytest.skip("there is no such program")

@pytest.mark.skipif(True, reason="there is no such program")
def test_by_mark(): ...

def test_by_import():
    pytest.importorskip("no_such_module")

@pytest.mark.privileged
def test_privileged(missing): ...

@pytest.mark.xfail
def test_expected_to_fail():
    assert False
"""


@pytest.mark.parametrize(("ci", "failed"), [("", 0), ("true", 4)])
def test_what_is_left_out_fails_where_ci_is_set(tmp_path: Path, ci: str, failed: int) -> None:
    """However it is left out; and its reason is told."""
    if (ROOT / "conftest.py").is_file():
        shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = privileged\n")
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider"]
    environ = {**os.environ, "CI": ci}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.stdout.count("\nleft out although CI is set: Skipped: ") == failed
    assert f"{5 - failed} skipped, 1 xfailed" in done.stdout.splitlines()[-1]
    assert done.returncode == (1 if failed else 0)
