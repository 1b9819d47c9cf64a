"""Many processes share one embedded index: the course that the benchmark of that name takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "shared_index.py"


def run(records: int) -> dict[str, object]:
    command = [sys.executable, str(SCRIPT), "--records", str(records), "--kill", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("records", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_nothing_fails_and_nothing_is_lost(records: int) -> None:
    """Four workers search during a backfill, and the index's owner is killed on the way."""
    result = run(records)
    assert result["killed"]
    assert result["searches"]
    assert (result["errors"], result["lost"]) == ([], 0)
