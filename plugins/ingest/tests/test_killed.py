"""A run that is killed anywhere is gone on with: nothing is lost and nothing doubled."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.store import QdrantStore

from spark_core.errors import NotFound

pytestmark = pytest.mark.anyio

SETTINGS = """
[plugins.ingest]
database = "crm.db"
in_flight = 2
[plugins.ingest.kinds.note]
table = "notes"
id = "note_id"
text = "body"
[plugins.ingest.kinds.twice]
query = "SELECT note_id / 2 AS id, 'twice ' || body AS body FROM notes WHERE note_id < 40"
id = "id"
text = "body"
[plugins.qdrant]
idle_s = 3
"""


def make(home: Path) -> Path:
    """A folder with a CRM of 300 notes, every tenth of them long."""
    home.mkdir()
    (home / "spark.toml").write_text(SETTINGS)
    with closing(sqlite3.connect(home / "crm.db")) as crm, crm:
        crm.execute("CREATE TABLE notes (note_id INTEGER PRIMARY KEY, body)")
        bodies = [f"note {n} " * (1 if n % 10 else 800) for n in range(300)]
        crm.executemany("INSERT INTO notes (body) VALUES (?)", [(body,) for body in bodies])
    return home


def change(home: Path) -> None:
    """What happens in the CRM before the next run: notes go, shrink, grow and come."""
    with closing(sqlite3.connect(home / "crm.db")) as crm, crm:
        crm.execute("DELETE FROM notes WHERE note_id % 7 = 1")
        crm.execute("UPDATE notes SET body = 'short ' || note_id WHERE note_id % 20 = 1")
        crm.execute("UPDATE notes SET body = body || ' longer' WHERE note_id % 5 = 2")
        crm.execute("INSERT INTO notes (body) VALUES ('a new one')")


def spark(home: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name("killable.py")), *words]
    variables = {**os.environ, "LEASE": "3", **environ}
    return subprocess.run(
        command, cwd=home, env=variables, capture_output=True, text=True, timeout=120
    )


async def contents(home: Path, name: str = "crm_chunks"):
    """All points, by id: text and payload."""
    found, last = {}, None
    async with open_embedded(home / ".spark" / "qdrant", idle=3) as engine:
        collection = QdrantStore(engine).collection(name)
        while page := await collection.scroll(after=last, limit=500):
            found.update((point.id, (point.text, point.payload)) for point in page)
            last = page[-1].id
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run that nobody disturbed, after the change."""
    home = make(tmp_path_factory.mktemp("undisturbed") / "home")
    change(home)
    assert spark(home, "ingest", "backfill").returncode == 0
    return home


def undisturbed_copy(home: Path) -> Path:
    """The same for the CRM in *home* as it is now."""
    other = make(home.with_name("undisturbed"))
    shutil.copy(home / "crm.db", other)
    change(other)
    assert spark(other, "ingest", "backfill").returncode == 0
    return other


async def check_next_run(home: Path, undisturbed: Path, *words: str, **environ: str) -> None:
    """It goes through, leaves what an undisturbed run does, and nothing to do after it."""
    change(home)
    done = spark(home, "ingest", "backfill", *words, "--json", **environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"] == len(await contents(undisturbed))
    assert await contents(home) == await contents(undisturbed)
    with pytest.raises(NotFound):
        await contents(home, "crm_chunks__building")
    again = spark(home, "ingest", "backfill")
    assert again.returncode == 0
    assert "embedded 0" in again.stderr


KILLS = [
    "after upsert:2",
    "before embed:3",
    "after embed:5",
    "before flush:1",
    "after flush:1",
    "before put:2",
    "after put:1",
    "after put:2",
]
slow = pytest.mark.slow


@pytest.mark.parametrize("moment", [KILLS[0], *(pytest.param(m, marks=slow) for m in KILLS[1:])])
async def test_a_first_run_that_is_killed(tmp_path, undisturbed, moment):
    """kill -9 between any two steps of the first backfill."""
    home = make(tmp_path / "home")
    assert spark(home, "ingest", "backfill", DIE=f"{moment}:9").returncode == -signal.SIGKILL
    await check_next_run(home, undisturbed)


@slow
@pytest.mark.parametrize(
    "moment",
    [
        "after upsert:1",
        "after delete:1",
        "before put:1",
        "after put:1",
        "before remove:1",
        "after remove:1",
    ],
)
async def test_an_update_that_is_killed(tmp_path, moment):
    """kill -9 while records are replaced, shortened and removed."""
    home = make(tmp_path / "home")
    assert spark(home, "ingest", "backfill").returncode == 0
    with closing(sqlite3.connect(home / "crm.db")) as crm, crm:
        crm.execute("UPDATE notes SET body = 'quite another ' || body WHERE note_id % 3 = 0")
        crm.execute("DELETE FROM notes WHERE note_id % 11 = 2")
    assert spark(home, "ingest", "backfill", DIE=f"{moment}:9").returncode == -signal.SIGKILL
    await check_next_run(home, undisturbed_copy(home))


@slow
@pytest.mark.parametrize("again", [["--recreate"], []], ids=["recreate again", "plain run next"])
@pytest.mark.parametrize(
    "moment", ["after create:1", "after upsert:3", "after put:1", "before replace:1"]
)
async def test_a_rebuild_that_is_killed(tmp_path, undisturbed, moment, again):
    """The old index serves until the next rebuild is whole; a plain run keeps to the old one."""
    home = make(tmp_path / "home")
    assert spark(home, "ingest", "backfill").returncode == 0
    before = await contents(home)
    killed = spark(home, "ingest", "backfill", "--recreate", DIE=f"{moment}:9")
    assert killed.returncode == -signal.SIGKILL
    assert await contents(home) == before
    assert spark(home, "search", "note 7", "--mode", "sparse").stdout.strip()
    if not again:
        change(home)
        assert spark(home, "ingest", "backfill").returncode == 0
        assert await contents(home) == await contents(undisturbed)
        return
    await check_next_run(home, undisturbed, *again)


@slow
@pytest.mark.parametrize("moment", ["after replace:1", "before clear:1", "after clear:1"])
async def test_a_rebuild_that_is_killed_after_the_switch(tmp_path, undisturbed, moment):
    """The new index is in place, and the next run knows what is in it."""
    home = make(tmp_path / "home")
    assert spark(home, "ingest", "backfill").returncode == 0
    killed = spark(home, "ingest", "backfill", "--recreate", DIE=f"{moment}:9")
    assert killed.returncode == -signal.SIGKILL
    done = spark(home, "ingest", "backfill")
    assert "embedded 0" in done.stderr
    await check_next_run(home, undisturbed)


@pytest.mark.parametrize(
    "moment",
    ["before embed:4", *(pytest.param(m, marks=slow) for m in ("after upsert:3", "before put:1"))],
)
async def test_ctrl_c(tmp_path, undisturbed, moment):
    """The run says that it was interrupted, and what it had stored is not embedded again."""
    home = make(tmp_path / "home")
    done = spark(home, "ingest", "backfill", DIE=f"{moment}:2")
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    first = int(re.search(r"embedded (\d+)", done.stderr)[1])
    rest = spark(home, "ingest", "backfill")
    second = int(re.search(r"embedded (\d+)", rest.stderr)[1])
    total = len(await contents(home))
    assert second < total <= first + second
    await check_next_run(home, undisturbed)


def keep_lease(home: Path) -> None:
    """Let the lease there is last, however slow this machine is, or wherever its clock goes."""
    with closing(sqlite3.connect(home / ".spark" / "state.db")) as state, state:
        state.execute("UPDATE leases SET expires_at = datetime('now', '+1 hour')")


@slow
async def test_the_next_run_after_a_kill_waits_for_the_lease(tmp_path, undisturbed):
    """With the lease as it is: it waits without an error, and goes on."""
    home = make(tmp_path / "home")
    killed = spark(home, "ingest", "backfill", DIE="after upsert:2:9", LEASE="")
    assert killed.returncode == -signal.SIGKILL
    keep_lease(home)
    status = json.loads(spark(home, "ingest", "status", "--json").stdout)
    assert status["running"].startswith("a backfill by cli ")
    await check_next_run(home, undisturbed, LEASE="")


@contextmanager
def stopped(home: Path, *words: str, at: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run that has stopped itself: it is surely under way."""
    command = [sys.executable, str(Path(__file__).with_name("killable.py")), *words]
    variables = {**os.environ, "DIE": f"{at}:19", **environ}
    with subprocess.Popen(command, cwd=home, env=variables, stderr=subprocess.PIPE) as process:
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            yield process
        finally:
            process.kill()


@slow
async def test_two_runs_at_the_same_moment(tmp_path, undisturbed):
    """One that stood still for longer than its lease is gone past, and then does nothing more."""
    home = make(tmp_path / "home")
    with stopped(home, "ingest", "backfill", at="before embed:3", LEASE="3") as first:
        keep_lease(home)
        second = spark(home, "ingest", "backfill")
        assert second.returncode == 0, second.stderr
        first.send_signal(signal.SIGCONT)
        errors = first.communicate()[1].decode()
        assert first.returncode == 1, errors
        assert "could not be renewed" in errors or "is now held by" in errors
    await check_next_run(home, undisturbed)


DURING = ["before embed:3", "after upsert:3", "before put:1", "before replace:1"]


@pytest.mark.parametrize(
    "moment", [*(pytest.param(m, marks=slow) for m in DURING[:-1]), DURING[-1]]
)
async def test_searches_are_answered_during_a_rebuild_and_after_it_was_killed(tmp_path, moment):
    """From the old index until the switch, then from the new one."""
    home = make(tmp_path / "home")
    assert spark(home, "ingest", "backfill").returncode == 0

    def found(words: str) -> list[str]:
        answer = spark(home, "search", words, "--mode", "sparse", "--limit", "3", "--json")
        assert answer.returncode == 0, answer.stderr
        return sorted(hit["text"].strip() for hit in json.loads(answer.stdout)["hits"])

    before = found("note 7"), found("quite")
    with closing(sqlite3.connect(home / "crm.db")) as crm, crm:
        crm.execute("UPDATE notes SET body = 'quite another' WHERE note_id = 50")
    with stopped(home, "ingest", "backfill", "--recreate", at=moment):
        assert (found("note 7"), found("quite")) == before
    assert (found("note 7"), found("quite")) == before
    assert spark(home, "ingest", "backfill", "--recreate").returncode == 0
    assert found("quite") == ["quite another"]
