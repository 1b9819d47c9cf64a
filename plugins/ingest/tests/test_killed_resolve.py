"""A resolve that is killed: the next one leaves what an undisturbed one does."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from spark_core_ingest.entities.scratch import PREFIX

from .test_killed import spark

SETTINGS = """
[plugins.ingest]
database = "crm.db"
[plugins.ingest.kinds.person]
table = "people"
id = "id"
text = "name"
match = { name = "name", email = "email" }
"""

#: The run is the first one, or one after the CRM has changed; one case in an ordinary run.
CASES = [(run, seed) for seed in range(6) for run in ("first", "later")]
ORDINARY = {("later", 0)}


def make(home: Path) -> Path:
    """A folder with a CRM of 300 people, of whom every third is there twice."""
    home.mkdir()
    (home / "spark.toml").write_text(SETTINGS)
    letters = random.Random(1)
    names = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(300)]
    people = [(f"Ada {name}", f"{name}@example.org") for name in names]
    with closing(sqlite3.connect(home / "crm.db")) as crm, crm:
        crm.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name, email)")
        crm.executemany("INSERT INTO people (name, email) VALUES (?, ?)", people + people[::3])
    return home


def change(home: Path) -> None:
    """People come, go and change, so that entities merge and come apart."""
    with closing(sqlite3.connect(home / "crm.db")) as crm, crm:
        crm.execute("DELETE FROM people WHERE id % 11 = 3")
        crm.execute("UPDATE people SET email = 'other' || id || '@example.org' WHERE id % 13 = 1")
        crm.execute("INSERT INTO people (name, email) SELECT name, email FROM people WHERE id < 60")


def who_is_who(home: Path) -> list[object]:
    """All that was found, but for the numbers of runs."""
    queries = (
        "SELECT id, kept_by FROM entities ORDER BY id",
        "SELECT kind, record_id, entity, title, facts FROM entity_members ORDER BY 1, 2",
        "SELECT a_id, b_id, score, weight, doubt, reasons FROM entity_links ORDER BY 1, 2",
    )
    with closing(sqlite3.connect(home / ".spark" / "state.db")) as state:
        return [state.execute(query).fetchall() for query in queries]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Before the run, after one that nobody disturbed, and the moments that this one had."""
    made = {}

    def prepare(run: str) -> tuple[Path, Path, list[str]]:
        if run not in made:
            folder = tmp_path_factory.mktemp(run)
            start, end = make(folder / "start"), folder / "end"
            if run == "later":
                assert spark(start, "ingest", "resolve").returncode == 0
                change(start)
            shutil.copytree(start, end)
            done = spark(end, "ingest", "resolve", MOMENTS="1")
            assert done.returncode == 0, done.stderr
            made[run] = start, end, [m for m in done.stderr.splitlines() if m.count(":") == 1]
        return made[run]

    return prepare


@pytest.mark.parametrize(
    ("run", "seed"),
    [pytest.param(*c, marks=[] if c in ORDINARY else [pytest.mark.slow]) for c in CASES],
)
def test_a_resolve_that_is_killed_at_a_random_moment(tmp_path, prepared, run, seed):
    """Ids, members and links are those of an undisturbed run; of the CRM's data nothing stays."""
    start, end, moments = prepared(run)
    moment = random.Random(f"{run} {seed}").choice(moments)
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    shutil.copytree(start, home)
    temporary.mkdir()
    killed = spark(home, "ingest", "resolve", DIE=f"{moment}:9", TMPDIR=str(temporary))
    assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr)
    done = spark(home, "ingest", "resolve", "--json", TMPDIR=str(temporary))
    assert done.returncode == 0, (moment, done.stderr)
    assert who_is_who(home) == who_is_who(end), moment
    assert not list(temporary.glob(f"{PREFIX}*"))
    again = json.loads(spark(home, "ingest", "resolve", "--json").stdout)
    assert (again["changed"], again["gone"]) == (0, 0)
