"""Whoever is added to the CRM, renamed or removed there is so for the next text in every worker."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ..gateway.conftest import PATIENCE
from .conftest import Exit, Serve

pytestmark = pytest.mark.anyio

WORKERS = 3

TOML = """
[plugins.ingest]
database = "crm.db"
[plugins.ingest.kinds.person]
table = "person"
id = "id"
text = "name"
match = { name = "name", organization = "firm" }
"""

#: Nobody else is known, and each text notes which worker read it.
NOBODY = "from spark_core import hookimpl"
NOTING = """
import os
from spark_core_redaction.detection.detecting import Detection

def noting(find):
    async def noted(self, text):
        with open("asked", "a") as asked:
            asked.write(f"{os.getpid()}\\n")
        return await find(self, text)
    return noted

Detection.find = noting(Detection.find)
"""

TEXT = "so zyxwa qorvathi and brilka vendomu of plimtrax said"


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crm") / "crm.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name, firm)")
        people = ((n, f"Perso{n} Nnumber{n}", f"Firm{n}") for n in range(10, 3000))
        connection.executemany("INSERT INTO person VALUES (?, ?, ?)", people)
        connection.commit()
    return path


@pytest.fixture(scope="module")
def served(serve: Serve, crm: Path) -> Exit:
    toml = TOML.replace("crm.db", str(crm))
    return serve(toml, workers=WORKERS, plugin=NOBODY, change=NOTING)


async def left_everywhere(served: Exit) -> set[str]:
    """What is left of the text: the same, asked as often as it takes to reach all workers."""
    asked, texts = served.folder / "asked", set[str]()
    asked.unlink(missing_ok=True)
    async with asyncio.timeout(PATIENCE):
        while not texts or len(set(asked.read_text().split())) < WORKERS:
            texts |= set(await asyncio.gather(*(scrubbed(served) for _ in range(2 * WORKERS))))
    (text,) = {frozenset(text.split()) & set(TEXT.split()) for text in texts}
    return set(text) - {"so", "and", "of", "said"}


async def scrubbed(served: Exit) -> str:
    """The text, by a connection of its own: whichever worker takes it."""
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE, trust_env=False) as client:
        answer = await client.post("/scrub", json={"text": TEXT})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["text"]
    return text


async def test_a_change_of_the_crm_is_known_to_the_next_text_in_every_worker(
    served: Exit, crm: Path
) -> None:
    """No run of ours comes between; every text after the change is asked, not a later one."""
    first, second, firm = {"zyxwa", "qorvathi"}, {"brilka", "vendomu"}, {"plimtrax"}
    assert await left_everywhere(served) == first | second | firm
    for change, left in (
        ("INSERT INTO person VALUES (1, 'Zyxwa Qorvathi', NULL)", second | firm),
        ("UPDATE person SET name = 'Brilka Vendomu' WHERE id = 1", first | firm),
        ("UPDATE person SET firm = 'Plimtrax' WHERE id = 77", first),
        ("DELETE FROM person WHERE id = 1", first | second),
        ("UPDATE person SET firm = NULL WHERE id = 77", first | second | firm),
    ):
        with closing(sqlite3.connect(crm)) as connection, connection:
            connection.execute(change)
        assert await left_everywhere(served) == left, change
