"""The demonstration's CRM: an ordinary SQLite database, and an ordinary mapping of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from spark_core.errors import SettingsError

from .environment import Person, Project

__all__ = ["MAPPING", "write_crm"]

#: Marks the database as the demonstration's: no other is ever written over.
APPLICATION_ID = 0x5370726B

SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE projects (
    project_id INTEGER PRIMARY KEY, name TEXT, version TEXT, summary TEXT,
    license TEXT, keywords TEXT, topics TEXT
);
CREATE TABLE people (
    person_id INTEGER PRIMARY KEY, full_name TEXT, email TEXT, UNIQUE (full_name, email)
);
CREATE TABLE roles (
    person_id INTEGER REFERENCES people, project_id INTEGER REFERENCES projects, role TEXT
);
CREATE TABLE notes (
    note_id INTEGER PRIMARY KEY, project_id INTEGER REFERENCES projects, heading TEXT, body TEXT
);
"""

#: The settings file of the demonstration. Copy it, and change the names to your own.
MAPPING = '''\
# How the tables of crm.db become records. Any schema works: only the names differ.

[plugins.ingest]
database = "crm.db"

[plugins.ingest.kinds.project]
table = "projects"
id = "project_id"
title = "name"
text = ["name", "summary", "keywords", "topics"]
metadata = ["version", "license"]    # returned with hits, usable in filters

[plugins.ingest.kinds.project.match]
name = "name"

[plugins.ingest.kinds.person]
query = """
    SELECT person_id, coalesce(nullif(full_name, ''), email) AS display_name, full_name, email,
           (SELECT group_concat(DISTINCT role || ' of ' || projects.name)
              FROM roles JOIN projects USING (project_id)
             WHERE roles.person_id = people.person_id) AS work
      FROM people
"""
id = "person_id"
title = "display_name"
text = ["full_name", "email", "work"]
metadata = ["email"]

[plugins.ingest.kinds.person.match]  # takes part in entity resolution
name = "full_name"
email = "email"

[plugins.ingest.kinds.note]
query = """
    SELECT note_id, projects.name || ': ' || heading AS subject, body, projects.name AS project
      FROM notes JOIN projects USING (project_id)
"""
id = "note_id"
title = "subject"
text = ["subject", "body"]
metadata = ["project"]
'''


def write_crm(database: Path, projects: Sequence[Project]) -> dict[str, int]:
    """Write *projects* to a new database in place of *database*; the rows of each table.

    The same environment gives the same rows, so that nothing needs to be indexed twice.

    :raises SettingsError: *database* is somebody else's.
    """
    if database.exists() and not _is_ours(database):
        raise SettingsError(
            f"{database} is not the demonstration's, and is left alone",
            hint="choose another --directory",
        )
    temporary = database.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with closing(sqlite3.connect(temporary)) as connection, connection:
        connection.executescript(SCHEMA)
        for project in projects:
            _write_project(connection, project)
        tables = ("projects", "people", "notes")
        counts = {t: connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables}
    temporary.replace(database)
    return counts


def _is_ours(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as found:
            (mark,) = found.execute("PRAGMA application_id").fetchone()
    except sqlite3.Error:
        return False
    return bool(mark == APPLICATION_ID)


def _write_project(connection: sqlite3.Connection, project: Project) -> None:
    row = (
        project.name,
        project.version,
        project.summary,
        project.license,
        project.keywords,
        project.topics,
    )
    columns = "name, version, summary, license, keywords, topics"
    cursor = connection.execute(f"INSERT INTO projects ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
    project_id = cursor.lastrowid
    for person in project.people:
        values = (_person_id(connection, person), project_id, person.role)
        connection.execute("INSERT INTO roles VALUES (?, ?, ?)", values)
    notes = [(project_id, note.heading, note.body) for note in project.notes]
    connection.executemany("INSERT INTO notes (project_id, heading, body) VALUES (?, ?, ?)", notes)


def _person_id(connection: sqlite3.Connection, person: Person) -> int:
    """The row of a person as they are written here; another spelling is another row."""
    key = (person.name, person.email)
    connection.execute("INSERT OR IGNORE INTO people (full_name, email) VALUES (?, ?)", key)
    where = "full_name = ? AND email = ?"
    found = connection.execute(f"SELECT person_id FROM people WHERE {where}", key).fetchone()
    return int(found[0])
