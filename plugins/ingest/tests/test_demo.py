"""``spark demo``: an ordinary CRM with an ordinary mapping, made of what is installed."""

from __future__ import annotations

import importlib.metadata
import json
import sqlite3
import tomllib
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from spark_core_ingest.demo import crm
from spark_core_ingest.demo.command import command
from spark_core_ingest.demo.crm import MAPPING, write_crm
from spark_core_ingest.demo.environment import Note, installed
from spark_core_ingest.settings import IngestSettings
from spark_core_ingest.sqlite import SqliteSource

from spark_core.errors import SettingsError
from spark_core.testing.records import read

PUMP = """\
Metadata-Version: 2.1
Name: pumpwise
Version: 1.0
Summary: Plans the maintenance of pumps
Author: Ada Example
Author-email: Ada Example <ada@example.org>, "Grace, Hopper" <grace@example.org>
License-Expression: MIT
Keywords: pumps,bearings
Classifier: Topic :: Scientific/Engineering

# Pumpwise

[![badge](https://example.org/badge.svg)](https://example.org)

It says when the bearings of a pump must be replaced, before they break.

## Retries

When the connection drops it tries again after a while, three times at most.
"""

VALVE = """\
Metadata-Version: 2.1
Name: Valve_tools
Version: 2.0
Author: A. Example
Author-email: ada@example.org
License: A licence
 of several lines
Description: Checks the types of what goes through a valve, and refuses what does not fit.
"""

BARE = "Metadata-Version: 2.1\nName: bare\nVersion: 0\n"
NAMELESS = "Metadata-Version: 2.1\nVersion: 0\n"
ODD = "Metadata-Version: 2.1\nName: \x1b[31modd\nVersion: 1\nAuthor: Mall\u00f6ry Odd\n"


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Five distributions on a path of their own, one of them twice, one without a name."""
    for place, texts in {"a": [PUMP, VALVE, BARE, NAMELESS, ODD], "b": [PUMP]}.items():
        for number, text in enumerate(texts):
            folder = tmp_path / place / f"d{number}-1.0.dist-info"
            folder.mkdir(parents=True)
            (folder / "METADATA").write_text(text, "utf-8")
    path = [str(tmp_path / "a"), str(tmp_path / "b")]

    def distributions():
        return importlib.metadata.MetadataPathFinder.find_distributions(
            importlib.metadata.DistributionFinder.Context(path=path)
        )

    # In that module alone: plugins are found in the real environment.
    stand_in = SimpleNamespace(metadata=SimpleNamespace(distributions=distributions))
    monkeypatch.setattr("spark_core_ingest.demo.environment.importlib", stand_in)
    return tmp_path


def rows(database, query):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def test_every_distribution_is_a_project_once(environment):
    """Whatever its metadata lack; one without a name is left out."""
    projects = {project.name: project for project in installed()}
    assert list(projects) == ["\x1b[31modd", "bare", "pumpwise", "Valve_tools"]
    assert projects["pumpwise"].license == "MIT"
    assert projects["pumpwise"].topics == "Scientific/Engineering"
    assert [note.heading for note in projects["pumpwise"].notes] == ["Pumpwise", "Retries"]
    assert "badge" not in projects["pumpwise"].notes[0].body
    assert projects["bare"].people == projects["bare"].notes == ()


def test_people_appear_as_they_are_written(environment, tmp_path):
    """One person under several names and addresses: the mess that a CRM has."""
    write_crm(tmp_path / "crm.db", installed())
    people = rows(tmp_path / "crm.db", "SELECT full_name, email FROM people ORDER BY 1, 2")
    assert ("Ada Example", "ada@example.org") in people
    assert ("", "ada@example.org") in people
    assert ("A. Example", "") in people
    assert ("Grace, Hopper", "grace@example.org") in people
    assert len(people) == len(set(people))


def test_the_same_environment_gives_the_same_rows(environment, tmp_path):
    """So that nothing is indexed twice."""
    database = tmp_path / "crm.db"
    for table in ("projects", "people", "roles", "notes"):
        write_crm(database, installed())
        before = rows(database, f"SELECT * FROM {table}")
        write_crm(database, installed())
        assert rows(database, f"SELECT * FROM {table}") == before


def test_another_environment_keeps_the_ids_of_what_it_shares(environment, tmp_path):
    """A package that comes or goes changes no row of the others: they are not embedded again."""
    database = tmp_path / "crm.db"
    tables = ("projects", "people", "roles", "notes")
    everything = installed()
    for gone in everything:
        write_crm(database, everything)
        before = {table: set(rows(database, f"SELECT * FROM {table}")) for table in tables}
        write_crm(database, [project for project in everything if project is not gone])
        for table in tables:
            assert set(rows(database, f"SELECT * FROM {table}")) <= before[table]


def test_notes_under_one_heading_are_kept_apart(environment, tmp_path):
    """Each has an id of its own."""
    notes = (Note("Usage", "x" * 50), Note("Usage", "y" * 50), Note("About", "z" * 50))
    (project, *_) = installed()
    write_crm(tmp_path / "crm.db", [replace(project, notes=notes)])
    found = rows(tmp_path / "crm.db", "SELECT heading, body FROM notes")
    assert set(found) == {(note.heading, note.body) for note in notes}


def test_two_demonstrations_at_once_do_not_disturb_each_other(environment, tmp_path, monkeypatch):
    """While one is writing another writes everything: each database is whole, nothing is left."""
    folder = tmp_path / "demo"
    folder.mkdir()
    projects = installed()
    alone = write_crm(tmp_path / "alone.db", projects)
    write = crm._write_project
    others = iter([lambda: write_crm(folder / "crm.db", projects)])

    def disturbed(connection, project):
        write(connection, project)
        for other in others:
            assert other() == alone

    monkeypatch.setattr(crm, "_write_project", disturbed)
    assert write_crm(folder / "crm.db", projects) == alone
    assert len(rows(folder / "crm.db", "SELECT * FROM projects")) == alone["projects"]
    assert [file.name for file in folder.iterdir()] == ["crm.db"]


def test_a_demonstration_that_fails_leaves_nothing(environment, tmp_path, monkeypatch):
    """Nor does it harm the database of the one before."""
    database = tmp_path / "demo" / "crm.db"
    database.parent.mkdir()
    write_crm(database, installed())
    before = database.read_bytes()

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(crm, "_write_project", fail)
    with pytest.raises(OSError, match="full"):
        write_crm(database, installed())
    assert [file.name for file in database.parent.iterdir()] == ["crm.db"]
    assert database.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"name,email\n" * 50, "sqlite"])
def test_somebody_elses_database_is_left_alone(environment, tmp_path, content):
    """The demonstration writes over its own database, and over no other."""
    database = tmp_path / "crm.db"
    if content == "sqlite":
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE mine (id)")
    else:
        database.write_bytes(content)
    before = database.read_bytes()
    with pytest.raises(SettingsError, match=r"crm\.db is not the demonstration's"):
        write_crm(database, installed())
    assert database.read_bytes() == before


@pytest.mark.anyio
async def test_the_mapping_is_an_ordinary_one(environment, tmp_path):
    """What a user would write: settings that are checked and read like any others."""
    write_crm(tmp_path / "crm.db", installed())
    section = tomllib.loads(MAPPING)["plugins"]["ingest"]
    settings = IngestSettings.model_validate(section, context={"directory": tmp_path})
    assert settings.database == tmp_path / "crm.db"
    source = SqliteSource(settings.database, settings.kinds)
    assert dict(await source.counts()) == {"project": 4, "person": 6, "note": 3}
    for kind in settings.kinds:
        for records in await read(source, kind):
            assert all(record.title and record.text for record in records)


def spark_demo(directory):
    return CliRunner().invoke(command, ["--directory", str(directory), "--json"])


def test_the_demonstration_end_to_end(environment, tmp_path, spark_home, capfd):
    """With the real model and engine: it finds by words and by meaning, and twice the same."""
    directory = tmp_path / "demo"
    first = spark_demo(directory)
    assert first.exit_code == 0, first.output
    answers = json.loads(first.stdout)
    question = "try again when the connection drops"
    assert answers[question]["hybrid"][0]["title"] == "pumpwise: Retries"
    assert set(answers[question]) == {"sparse", "dense", "hybrid"}
    (by_name,) = (answers[name] for name in answers if name in ("Example", "Hopper", "maintainer"))
    assert by_name["sparse"][0]["kind"] == "person"
    settings = directory / "spark.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    again = CliRunner().invoke(command, ["--directory", str(directory)])
    assert again.exit_code == 0, again.output
    assert "by meaning (dense)" in again.output
    assert "spark ingest backfill" in again.output
    assert "\x1b" not in again.output
    assert settings.read_text().endswith("# mine\n")
    assert "indexed: 0" in " ".join(capfd.readouterr().out.split())


def test_a_directory_that_cannot_be_written_is_told(environment, tmp_path):
    """In one sentence."""
    (tmp_path / "file").write_text("")
    result = spark_demo(tmp_path / "file" / "demo")
    assert isinstance(result.exception, SettingsError)
    assert "cannot be written" in str(result.exception)
