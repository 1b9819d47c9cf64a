"""kill -9 at random moments: the next run leaves what an undisturbed one does.

A moment is drawn among all steps that the very run has, which are told by one that is not killed.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from .test_killed import change, contents, make, spark

pytestmark = pytest.mark.anyio

#: The runs, and whether there is an index before them.
RUNS = {
    "backfill": (("ingest", "backfill", "--recreate"), True),
    "first sync": (("ingest", "sync"), False),
    "sync": (("ingest", "sync"), True),
}

#: Twenty moments of a backfill and of a sync; three of them in an ordinary run of the tests.
CASES = [(run, seed) for seed in range(10) for run in ("backfill", "sync")] + [("first sync", 0)]
ORDINARY = {("backfill", 0), ("sync", 0), ("first sync", 0)}


def before(home: Path, indexed: bool) -> Path:
    """A CRM in *home*, and its index, from which the CRM has changed since."""
    make(home)
    if indexed:
        assert spark(home, "ingest", "backfill").returncode == 0
    change(home)
    return home


def copy(start: Path, end: Path) -> None:
    """A folder with its index, but for the address of the index's owner, who may be leaving."""
    shutil.copytree(start, end, ignore=shutil.ignore_patterns("owner.json"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Of each run what there is before it, what there is after it, and its moments."""
    made = {}

    def prepare(run: str) -> tuple[Path, Path, list[str]]:
        if run not in made:
            words, indexed = RUNS[run]
            folder = tmp_path_factory.mktemp(run.replace(" ", "-"))
            start = before(folder / "start", indexed)
            end = folder / "end"
            copy(start, end)
            done = spark(end, *words, MOMENTS="1")
            assert done.returncode == 0, done.stderr
            made[run] = start, end, [m for m in done.stderr.splitlines() if ":" in m]
        return made[run]

    return prepare


@pytest.mark.parametrize(
    ("run", "seed"),
    [pytest.param(*c, marks=[] if c in ORDINARY else [pytest.mark.slow]) for c in CASES],
)
async def test_a_run_that_is_killed_at_a_random_moment(tmp_path, prepared, run, seed):
    """Counts and contents are those of an undisturbed run, and searches never fail."""
    words, indexed = RUNS[run]
    start, end, moments = prepared(run)
    moment = random.Random(f"{run} {seed}").choice(moments)
    home = tmp_path / "home"
    copy(start, home)
    killed = spark(home, *words, DIE=f"{moment}:9")
    assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr)
    if indexed:
        found = spark(home, "search", "note 5", "--json", "--limit", "3")
        assert found.returncode == 0, (moment, found.stderr)
        assert json.loads(found.stdout)["hits"]
    done = spark(home, *words, "--json")
    assert done.returncode == 0, (moment, done.stderr)
    expected = await contents(end)
    assert json.loads(done.stdout)["points"] == len(expected), moment
    assert await contents(home) == expected, moment
    again = spark(home, "ingest", "sync")
    assert "embedded 0" in again.stderr, moment
    status = json.loads(spark(home, "ingest", "status", "--json").stdout)
    assert (status["agrees"], status["running"], status["behind_minutes"]) == (True, None, 0)
    with closing(sqlite3.connect(home / "crm.db")) as crm:
        assert crm.execute("PRAGMA integrity_check").fetchone() == ("ok",)
