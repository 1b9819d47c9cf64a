"""The backfill: its rate against that of its embedder, its CPU, its memory.

::

    python tests/benchmarks/backfill.py [--quick]

- *Rate*: ``ingest.backfill`` with an embeddings server of a fixed speed behind the plugin
  ``bge_m3``. The least time there is, is the number of texts by the server's speed. *Of its
  rate* is that for the records by which a long run is longer than a short one; *all told* is
  that of the long run with everything that happens once: opening the state, starting the
  owner process, making the collection, switching to it. *After the last answer* is what is
  left to do when everything is embedded: storing the rest, flushing, the switch.
- *CPU*: the local model's CPU time for some texts; then that of a backfill of the same texts
  with vectors that cost nothing, which is all that is not the model: reading, cutting, BM25,
  storing, the owner process and the state. (Loading the model counts for neither.)
- *Memory*: the most that the process of a backfill has had resident, for a table and for one
  ten times as long.

Every measurement runs in a process of its own. The texts come from the documentation that is
part of Python.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, TypeVar

from processes import cpu_seconds, home, peak_mib
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_fastembed.embedder import open_embedder
from spark_core_fastembed.settings import FastembedSettings
from tables import show

import spark_core
from spark_core import Provider
from spark_core.contracts.embedding import Purpose, Vector
from spark_core.plugins import Plugins
from spark_core.testing.plugins import plugin

T = TypeVar("T")

DIMENSION = 384

#: Words in a record.
WORDS = 160

MAPPING = """
[plugins.ingest]
database = "crm.db"

[plugins.ingest.kinds.note]
table = "notes"
id = "note_id"
title = "subject"
text = ["subject", "body"]
metadata = ["year"]
"""


def texts(count: int) -> Iterator[str]:
    """*count* texts of :data:`WORDS` English words, no two alike."""
    words = cycle(" ".join(topics.values()).split())
    for n in range(count):
        yield f"{n} " + " ".join(islice(words, WORDS))


def write_crm(folder: Path, count: int, settings: str) -> Path:
    """A database of *count* notes and the settings for it; returns the settings file."""
    with closing(sqlite3.connect(folder / "crm.db")) as connection, connection:
        connection.execute("CREATE TABLE notes (note_id INTEGER PRIMARY KEY, subject, body, year)")
        rows = ((f"note {n}", text, 2000 + n % 25) for n, text in enumerate(texts(count)))
        connection.executemany("INSERT INTO notes (subject, body, year) VALUES (?, ?, ?)", rows)
    config = folder / "spark.toml"
    config.write_text(settings + MAPPING, "utf-8")
    return config


class ReadyEmbedder:
    """Vectors that cost nothing."""

    model = "ready made"

    def __init__(self) -> None:
        self._vectors = [[math.sin(n * k) for k in range(1, DIMENSION + 1)] for n in range(1, 98)]

    async def dimension(self) -> int:
        return DIMENSION

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose = Purpose.DOCUMENT
    ) -> Sequence[Vector]:
        return [self._vectors[n % len(self._vectors)] for n in range(len(texts))]


@asynccontextmanager
async def open_ready() -> AsyncIterator[ReadyEmbedder]:
    yield ReadyEmbedder()


READY = '[providers]\nembedder = "ready"\n'


def all_plugins() -> Plugins:
    """What is installed, and an embedder called ``ready``."""
    offer = plugin("ready", spark_register_embedders=lambda: [Provider("ready", open_ready)])
    return Plugins([*Plugins.discover(), offer])


@dataclass(frozen=True)
class Spent:
    """What one backfill took: seconds in all and after the embedder's last answer, CPU seconds
    here and in the owner, peak memory in MiB.
    """

    seconds: float
    tail: float
    cpu: float
    owner_cpu: float
    memory: float
    owner_memory: float


def backfill(config: Path) -> Spent:
    """Run a backfill in this process, which should do nothing else."""
    last_answer = _noted_answers()
    started, before = time.perf_counter(), time.process_time()
    owner = asyncio.run(_backfill(config))
    ended, cpu = time.perf_counter(), time.process_time() - before
    seconds, tail = ended - started, ended - last_answer[0]
    return Spent(seconds, tail, cpu, cpu_seconds(owner), peak_mib(os.getpid()), peak_mib(owner))


def _noted_answers() -> list[float]:
    """The time of the last answer that the plugin ``bge_m3`` has had in this process."""
    times, embed = [math.nan], BgeM3Embedder.embed

    async def noted(self: BgeM3Embedder, texts: Sequence[str], **more: Any) -> Sequence[Vector]:
        vectors = await embed(self, texts, **more)
        times[0] = time.perf_counter()
        return vectors

    BgeM3Embedder.embed = noted  # type: ignore[method-assign]
    return times


async def _backfill(config: Path) -> int:
    """Returns the owner's process id. It is a rebuild, so that the switch counts too."""
    async with spark_core.open(config, environ={}, plugins=all_plugins()) as spark:
        await spark.call("ingest.backfill", {"recreate": True})
    note: dict[str, Any] = json.loads((config.parent / ".spark/qdrant/owner.json").read_text())
    return int(note["pid"])


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """The result of *function*, run in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# ------------------------------------------------------------------------------------- rate


@contextmanager
def embedding_server(rate: float, lanes: int) -> Iterator[str]:
    """The url of a server that embeds *rate* texts in a second."""
    script = Path(__file__).with_name("embedding_server.py")
    command = [sys.executable, str(script), str(rate), str(lanes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def measure_rate(count: int, rate: float, lanes: int) -> Spent:
    with embedding_server(rate, lanes) as url, home() as folder:
        config = write_crm(folder, count, f'[plugins.bge_m3]\nurl = "{url}"\n')
        return alone(backfill, config)


def show_rates(count: int) -> None:
    rows = []
    for rate, lanes in ((500, 1), (1000, 1), (1000, 4)):
        short, long = (measure_rate(n, rate, lanes) for n in (count // 5, count + count // 5))
        marginal = count / rate / (long.seconds - short.seconds)
        whole = (count + count // 5) / rate / long.seconds
        cpu = (long.cpu + long.owner_cpu) / (count + count // 5)
        measured = (f"{marginal:.1%}", f"{whole:.1%}", f"{long.tail:.2f}", f"{cpu * 1000:.2f}")
        rows.append((f"{rate} texts/s, {lanes} at once", *measured))
    columns = ("embedder", "of its rate", "all told", "s after last answer", "our CPU ms each")
    show(f"Rate of a backfill, {count:,} records (target: 95 %)", columns, rows)


# -------------------------------------------------------------------------------------- CPU


def model_cpu(count: int) -> float:
    """CPU seconds of the local model for *count* texts; loading it is left out."""
    return asyncio.run(_model_cpu(list(texts(count))))


async def _model_cpu(batch: Sequence[str]) -> float:
    async with open_embedder(FastembedSettings()) as embedder:
        await embedder.embed(["a text to load the model for"])
        before = time.process_time()
        await embedder.embed(batch)
        return time.process_time() - before


def show_cpu(count: int) -> None:
    model = alone(model_cpu, count)
    with home() as folder:
        spent = alone(backfill, write_crm(folder, count, READY))
    ours = spent.cpu + spent.owner_cpu
    row = ("local model", f"{model:.2f}", f"{spent.cpu:.2f}", f"{spent.owner_cpu:.2f}")
    columns = ("", "model s", "backfill s", "owner s", "ours of all")
    title = f"CPU of a backfill of {count:,} records of {WORDS} words (target: 10 %)"
    show(title, columns, [(*row, f"{ours / (ours + model):.1%}")])


# ----------------------------------------------------------------------------------- memory


def show_memory(count: int) -> None:
    rows = []
    for records in (count, count * 10):
        with home() as folder:
            spent = alone(backfill, write_crm(folder, records, READY))
        rate = f"{records / spent.seconds:,.0f}"
        rows.append((f"{records:,}", f"{spent.memory:.0f}", f"{spent.owner_memory:.0f}", rate))
    columns = ("records", "backfill MiB", "owner MiB", "records/s")
    show("Peak memory of a backfill with an embedder that costs nothing", columns, rows)


def run(quick: bool = False) -> None:
    """Measure and print all three."""
    show_rates(2_000 if quick else 10_000)
    show_cpu(50 if quick else 300)
    show_memory(500 if quick else 5_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth or less of the records")
    run(parser.parse_args().quick)


if __name__ == "__main__":
    main()
