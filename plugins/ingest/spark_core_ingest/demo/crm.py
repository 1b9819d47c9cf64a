"""The demonstration's CRM: an ordinary SQLite database, and an ordinary mapping of it."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from spark_core.errors import SettingsError

from .environment import Project

__all__ = ["MAPPING", "write_crm", "write_mapping"]

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

    A row keeps its id while others come and go, so that nothing needs to be indexed twice.

    :raises SettingsError: *database* is somebody else's.
    """
    if database.exists() and not _is_ours(database):
        raise SettingsError(
            f"{database} is not the demonstration's, and is left alone",
            hint="choose another --directory",
        )
    with _replacing(database) as temporary:
        return _write(temporary, projects)


def write_mapping(file: Path) -> None:
    """Write the settings file, unless it is there: it is its user's from then on."""
    if not file.exists():
        with _replacing(file) as temporary:
            temporary.write_text(MAPPING, "utf-8")


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """A new file that becomes *file* in one step: demonstrations may run side by side."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.", suffix=".new")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _write(database: Path, projects: Sequence[Project]) -> dict[str, int]:
    """Fill the empty file *database*; the rows of each table."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(SCHEMA)
        for project in projects:
            _write_project(connection, project)
        tables = ("projects", "people", "notes")
        return {t: connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables}


def _is_ours(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as found:
            (mark,) = found.execute("PRAGMA application_id").fetchone()
    except sqlite3.Error:
        return False
    return bool(mark == APPLICATION_ID)


def _write_project(connection: sqlite3.Connection, project: Project) -> None:
    project_id = _id(project.name.lower())
    row = (
        project_id,
        project.name,
        project.version,
        project.summary,
        project.license,
        project.keywords,
        project.topics,
    )
    connection.execute("INSERT INTO projects VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    for person in project.people:
        person_id = _id(person.name, person.email)  # another spelling is another row
        values = (person_id, person.name, person.email)
        connection.execute("INSERT OR IGNORE INTO people VALUES (?, ?, ?)", values)
        connection.execute(
            "INSERT INTO roles VALUES (?, ?, ?)", (person_id, project_id, person.role)
        )
    connection.executemany("INSERT INTO notes VALUES (?, ?, ?, ?)", _notes(project, project_id))


def _notes(project: Project, project_id: int) -> Iterator[tuple[int, int, str, str]]:
    """The rows of a project's notes; those under the same heading are counted."""
    seen: Counter[str] = Counter()
    for note in project.notes:
        note_id = _id(project.name.lower(), note.heading, str(seen[note.heading]))
        seen[note.heading] += 1
        yield note_id, project_id, note.heading, note.body


def _id(*names: str) -> int:
    """A number for what is called so. It does not change when others come or go."""
    encoded = json.dumps(names).encode()
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=6).digest())
