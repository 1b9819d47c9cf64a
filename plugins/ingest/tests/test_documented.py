"""Whatever the documentation shows is run: the CRM's database stays as it is, byte by byte."""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from spark_core_cli.installed import Installed
from spark_core_cli.main import make_command

from spark_core.settings import Source

from .killable import everything

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")]

#: A command that has to do with the CRM, as it stands in a block, a table or a sentence.
COMMAND = re.compile(r"\bspark ((?:ingest|search|entities|notes|records|audit)\b[^`#|)$\n]*)")

SETTINGS = """
[plugins.ingest]
database = "crm.db"
[plugins.ingest.kinds.contact]
table = "people"
id = "id"
title = "name"
text = ["name", "notes"]
metadata = ["city", "shelf"]
match = { name = "name", email = "email" }
[plugins.ingest.kinds.lead]
table = "leads"
id = "id"
text = "name"
match = { name = "name", email = "email" }
"""

CRM = """
CREATE TABLE people (id INTEGER PRIMARY KEY, name, email, notes, city, shelf);
INSERT INTO people VALUES (1, 'Ada Example', 'ada@example.com', 'the pump', 'Graz', 'T4');
CREATE TABLE leads (id INTEGER PRIMARY KEY, name, email);
INSERT INTO leads VALUES (7, 'Ada Exampel', 'ada@example.com');
"""


def documented() -> list[list[str]]:
    """Every such command in the documentation, each once; a schedule runs once."""
    found = {match.strip() for page in PAGES for match in COMMAND.findall(page.read_text("utf-8"))}
    commands = {tuple(_words(text)) for text in found if "|" not in text}
    return sorted([*words, "--once"][: None if "schedule" in words else -1] for words in commands)


def _words(text: str) -> list[str]:
    """The words of a command, up to where a sentence goes on."""
    line = text.split("  ")[0].rstrip(" .,;:\"'").replace('"$', "")
    if line.count('"') % 2:
        line += '"'
    return [word for word in shlex.split(line) if word != "--once"]


@pytest.mark.parametrize("journal", [pytest.param("DELETE", marks=pytest.mark.slow), "WAL"])
def test_no_documented_command_changes_the_database(spark_home, fingerprint, capsys, journal):
    """Nor does a file come to lie beside it, or one of its folder change."""
    database = spark_home / "crm.db"
    with closing(sqlite3.connect(database)) as crm:
        crm.executescript(f"PRAGMA journal_mode = {journal};{CRM}")
    (spark_home / "spark.toml").write_text(SETTINGS)
    before, beside = fingerprint(database), sorted(spark_home.glob("crm.db*"))
    spark = make_command(lambda config: Installed(everything(), Source.read(config)))
    commands = documented()
    assert len(commands) > 25
    done = set()
    for words in [["ingest", "build"], *commands]:
        with pytest.raises(SystemExit) as ended:
            spark.main(words, prog_name="spark")
        capsys.readouterr()
        assert fingerprint(database) == before, words
        assert sorted(spark_home.glob("crm.db*")) == beside, words
        if not ended.value.code:
            done.add(" ".join(words[:2]))
    assert done >= {f"ingest {name}" for name in ("build", "backfill", "sync", "refresh", "status")}
    assert done >= {"ingest resolve", "ingest entities", "ingest explain", "entities confirm"}
