"""The gateway soaked for a while: the course that the benchmark of that name takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gateway_soak.py"


@pytest.mark.parametrize("seconds", [5, pytest.param(1800, marks=pytest.mark.slow)])
def test_everything_comes_back_to_where_it_was(seconds: int) -> None:
    """Callers leave and backends fail at random; limits hold, and nobody gets another's bytes."""
    command = [sys.executable, str(SCRIPT), "--seconds", str(seconds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["failures"] == []
    assert result["outcomes"]["ok"] > seconds
