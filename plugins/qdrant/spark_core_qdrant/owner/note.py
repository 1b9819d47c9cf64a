"""What an owner leaves in its directory, ``owner.json``: where it can be reached."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

__all__ = ["Note", "read_note", "write_note"]


class Note(NamedTuple):
    """An owner's socket, and what tells whether it is the right owner."""

    socket: str
    version: str
    directory: str  #: a copied directory brings the note of the original's owner along
    pid: int  #: for people who look

    @classmethod
    def mine(cls, directory: Path, socket: Path) -> Note:
        """This process's own."""
        return cls(str(socket), own_version(), str(directory), os.getpid())


def own_version() -> str:
    """The version of this code: owner and client must be of one."""
    return version("spark-core-qdrant")


def file_in(directory: Path) -> Path:
    """Where the note lies."""
    return directory / "owner.json"


def read_note(directory: Path) -> Note:
    """The note of the owner of *directory*, who may be gone.

    :raises ConnectionError: there is no note, or none of use.
    """
    try:
        note = Note(**json.loads(file_in(directory).read_bytes()))
    except (OSError, ValueError, TypeError):
        raise ConnectionError("there is no owner.json of use") from None
    if note.directory != str(directory):
        raise ConnectionError("owner.json came from another directory")
    return note


def write_note(directory: Path, note: Note) -> os.stat_result:
    """Replace the note; what is returned tells it from later ones."""
    file = file_in(directory)
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(note._asdict()), "utf-8")
    temporary.replace(file)
    return file.stat()
