"""Whoever promotes is killed with -9 at any step: the next one goes on, and does nothing twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import digest
from .test_promoting import UPDATE

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FORWARD = (
    *("checked", "backed_up", "copied", "installed", "restarted", "bound", "restored"),
    *("consumers", "verified"),
)
BACK = ("returning", "returned", "serving")
MOMENTS = ("before", "after")
OPTIONS = ("verify", "restart_consumers", "restore_health_period")


def run(office, operation: str, phase: str, moment: str, *options: str):
    (office.folder / "spark.toml").write_text(office.toml())
    program = str(Path(__file__).with_name("killing.py"))
    words = [str(office.folder / "spark.toml"), operation, phase, moment, *options]
    return subprocess.run(
        [sys.executable, program, *words], cwd=office.folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("phase", FORWARD)
async def test_killed_on_the_way_it_goes_on(office, phase, moment):
    """The destination is whole meanwhile, and each service was begun anew once for each reason."""
    killed = await asyncio.to_thread(run, office, "promote", phase, moment, *OPTIONS)
    assert killed.returncode == -9, killed.stderr
    known = {digest(office.engines(kind)) for kind in ("old", "new")}
    assert digest(office.destination) in known
    done = await asyncio.to_thread(run, office, "promote", "never", "before")
    assert done.returncode == 0, done.stderr
    assert office.is_new()
    assert office.updates() == [
        f"{UPDATE} --force engine",
        f"{UPDATE} --health-start-period 2s --force engine",
    ]
    assert [office.updates(name) for name in ("graph-os", "messaging")] == [
        [f"{UPDATE} --force graph-os"],
        [f"{UPDATE} --force messaging"],
    ]
    assert office.left_over() == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("phase", BACK)
async def test_killed_on_the_way_back_it_goes_back(office, phase, moment):
    """It does not turn round: what did not work once is not tried again."""
    office.ship("lying")
    killed = await asyncio.to_thread(run, office, "promote", phase, moment, "verify")
    assert killed.returncode == -9, killed.stderr
    done = await asyncio.to_thread(run, office, "promote", "never", "before")
    assert done.returncode == 1
    assert "was taken back" in done.stderr
    assert office.is_old()
    assert len(office.updates()) == 2


@pytest.mark.parametrize("phase", FORWARD[:6])
async def test_killed_and_then_taken_back_by_request(office, phase):
    """`spark promote rollback` needs nobody to finish it first."""
    killed = await asyncio.to_thread(run, office, "promote", phase, "after")
    assert killed.returncode == -9, killed.stderr
    await asyncio.sleep(7)  # the lease of the dead runs out
    done = await asyncio.to_thread(run, office, "promote.rollback", "never", "before")
    assert done.returncode == 0, done.stderr
    assert office.is_old()
