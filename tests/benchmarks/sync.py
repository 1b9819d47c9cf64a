"""A sync that finds nothing to do: its time and its memory.

::

    python tests/benchmarks/sync.py [--records 1000000] [--keep FOLDER]

Makes a CRM, fills its index by ``ingest.backfill`` with vectors that are given, and then runs
``ingest.sync`` in a process of its own. *Calls* is how often the embedder was asked for
vectors. *MiB* is the most that the process has had resident; the owner's is that of the
process which holds the vectors. ``--keep`` makes or uses a filled index in that folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from backfill import alone
from processes import home, peak_mib
from tables import show

import spark_core
from spark_core import Provider
from spark_core.contracts.embedding import Purpose, Vector
from spark_core.plugins import Plugins
from spark_core.testing.plugins import plugin

DIMENSION = 8

SETTINGS = """
[providers]
embedder = "given"

[plugins.ingest]
database = "crm.db"

[plugins.ingest.kinds.note]
table = "notes"
id = "note_id"
title = "subject"
text = ["subject", "body"]
metadata = ["year"]
updated = "changed_at"
"""


class GivenEmbedder:
    """Vectors that cost nothing. It counts how often it is asked for some."""

    model = "given"
    calls = 0

    async def dimension(self) -> int:
        return DIMENSION

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose = Purpose.DOCUMENT
    ) -> Sequence[Vector]:
        GivenEmbedder.calls += 1
        return [[1.0, *(len(text) % n / n for n in range(2, DIMENSION + 1))] for text in texts]


@asynccontextmanager
async def open_given() -> AsyncIterator[GivenEmbedder]:
    yield GivenEmbedder()


def all_plugins() -> Plugins:
    """What is installed, and an embedder called ``given``."""
    offer = plugin("given", spark_register_embedders=lambda: [Provider("given", open_given)])
    return Plugins([*Plugins.discover(), offer])


def write_crm(folder: Path, records: int) -> None:
    """A database of so many notes of about fifteen words."""
    with closing(sqlite3.connect(folder / "crm.db")) as connection, connection:
        columns = "note_id INTEGER PRIMARY KEY, subject, body, year, changed_at"
        connection.execute(f"CREATE TABLE notes ({columns})")
        body = "about the pump in hall {} and what was agreed with number {} on that day"
        rows = (
            (f"note {n}", body.format(n % 97, n), 2000 + n % 25, f"2026-01-{n % 28 + 1:02}")
            for n in range(records)
        )
        insert = "INSERT INTO notes (subject, body, year, changed_at) VALUES (?, ?, ?, ?)"
        connection.executemany(insert, rows)
    (folder / "spark.toml").write_text(SETTINGS, "utf-8")


class Spent(NamedTuple):
    """What a run took, and what it reported."""

    seconds: float
    cpu: float
    memory: float
    owner_memory: float
    calls: int
    report: dict[str, Any]


def run(folder: Path, operation: str) -> Spent:
    """Run *operation* in this process, which should do nothing else."""
    return asyncio.run(_run(folder, operation))


async def _run(folder: Path, operation: str) -> Spent:
    async with spark_core.open(folder / "spark.toml", environ={}, plugins=all_plugins()) as spark:
        started, cpu = time.perf_counter(), time.process_time()
        report = await spark.call(operation)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    owner = json.loads((folder / ".spark/qdrant/owner.json").read_text())["pid"]
    memory = peak_mib(os.getpid()), peak_mib(int(owner))
    return Spent(seconds, cpu, *memory, GivenEmbedder.calls, report.model_dump())


@contextmanager
def filled(records: int, keep: Path | None) -> Iterator[Path]:
    """A folder with a CRM and its index."""
    with home() as temporary:
        folder = keep or temporary
        if not (folder / "spark.toml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_crm(folder, records)
            alone(run, folder, "ingest.backfill")
        yield folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with filled(options.records, options.keep) as folder:
        spent = alone(run, folder, "ingest.sync")
    assert (spent.report["indexed"], spent.report["removed"]) == (0, 0), spent.report
    columns = ("records", "seconds", "CPU s", "MiB", "owner MiB", "calls")
    row = (f"{spent.report['unchanged']:,}", f"{spent.seconds:.1f}", f"{spent.cpu:.1f}")
    memory = (f"{spent.memory:.0f}", f"{spent.owner_memory:.0f}")
    title = "A sync over records that have not changed (target for a million: 20 s, 300 MB)"
    show(title, columns, [(*row, *memory, spent.calls)])


if __name__ == "__main__":
    main()
