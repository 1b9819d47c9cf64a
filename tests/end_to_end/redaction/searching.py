"""Looks for canaries in everything that a server wrote."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Exit

__all__ = ["KEY", "LOUD", "found_in", "search", "written"]

KEY = "our-own-key"

#: Pieces of what tests write about, which stand nowhere else.
CANARIES = (
    *("Zsuzsanna", "Quillfeather", "zq.canary", "90817263", "555 0199", "5678 9018"),
    *("Ottilie", "ttilie Kranz", "Delacourt-Vey", "7741902", "601 555 214", "m.vey@pompes"),
)

#: Everything is logged that anybody would log.
LOUD = (
    "import logging, sys; "
    "logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format='%(name)s %(message)s'); "
    "[logging.getLogger(n).setLevel(logging.DEBUG) for n in ('sqlalchemy', 'python_multipart')]"
)


def spellings(value: str) -> Iterator[bytes]:
    """How *value* may be written."""
    yield from (value.encode(), value.encode("utf-16-le"), value.encode().hex().encode())
    for shift in range(3):  # of base64, by where it begins
        text = base64.b64encode(b" " * shift + value.encode())
        yield text[shift + shift // 2 + 1 : -4]


def found_in(content: bytes) -> list[str]:
    return [v for v in (*CANARIES, KEY) if any(s in content for s in spellings(v))]


def written(server: Exit) -> Iterator[tuple[str, bytes]]:
    """Everything that the server wrote, and what it is."""
    yield "the log", server.log.read_bytes()
    for file in (server.folder / ".spark").rglob("*"):
        if file.is_file():
            yield str(file.relative_to(server.folder)), file.read_bytes()
    state = server.folder / ".spark" / "state.db"
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as database:
        yield "the state", "\n".join(database.iterdump()).encode()
    for process in (server.process.pid, *server.workers()):
        for name in ("cmdline", "environ"):
            yield f"{name} of {process}", Path(f"/proc/{process}/{name}").read_bytes()


def search(server: Exit) -> dict[str, list[str]]:
    """What was found where."""
    return {place: found for place, content in written(server) if (found := found_in(content))}
