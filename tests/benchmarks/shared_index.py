"""Four workers search over HTTP while a backfill writes to the same embedded index.

    python tests/benchmarks/shared_index.py [--records 10000] [--kill] [--json] [--quick]

A database of invented records; the first tenth is indexed, then `spark serve --workers 4` is
asked five hybrid searches a second while `spark ingest backfill` indexes the rest. With
`--kill`, the process that owns the index is killed with -9 half way, as often as it is found.
Prints how many searches were made, how many failed, the slowest, and whether every record is
in the index at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

SETTINGS = """
[plugins.ingest]
database = "crm.db"

[plugins.ingest.kinds.note]
table = "notes"
id = "note_id"
title = "subject"
text = ["subject", "body"]

[plugins.fastembed]
threads = 1
"""

#: Searches a second.
RATE = 5

WORDS = [a + b for a in ("bear", "gear", "pump", "valv", "mot", "cab") for b in ("ing", "al", "or")]


def write_rows(database: Path, first: int, last: int) -> None:
    """Add the notes *first* to *last*, the same ones every time."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS notes (note_id INTEGER PRIMARY KEY, subject, body)"
        )
        for number in range(first, last):
            chance = random.Random(number)
            body = " ".join(chance.choices(WORDS, k=25)) + f" ticket{number}"
            connection.execute(
                "INSERT INTO notes VALUES (?, ?, ?)", (number, f"note {number}", body)
            )


async def spark(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command and return what it answers."""
    command = [sys.executable, "-m", "spark_core_cli", *arguments, "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"spark {' '.join(arguments)} exited with {process.returncode}")
    answer: dict[str, Any] = json.loads(out)
    return answer


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """`spark serve` with four workers, at the URL that is yielded, once it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "spark_core_cli", "serve", "--workers", "4", "--port", "0"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        url = re.search(r"http://\S+", line)
        assert url, line
        async with httpx.AsyncClient(base_url=url[0], timeout=60) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/ready")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield url[0]
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


class Searches:
    """Searches at a steady rate, whatever the answers take, each on a connection of its own."""

    def __init__(self, url: str, records: int) -> None:
        self._url = url
        self._records = records
        self.seconds: list[float] = []
        self.errors: list[str] = []

    async def keep_on(self) -> None:
        """Search until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(10**9):
                tasks.create_task(self._search(random.Random(number)))
                await asyncio.sleep(1 / RATE)

    async def _search(self, chance: random.Random) -> None:
        query = f"{chance.choice(WORDS)} ticket{chance.randrange(self._records)}"
        started = time.perf_counter()
        try:
            async with httpx.AsyncClient(timeout=60) as client:
                answer = await client.post(f"{self._url}/api/search", json={"query": query})
            if answer.status_code != 200 or not answer.json()["hits"]:
                self.errors.append(f"{answer.status_code} {answer.text[:200]}")
        except httpx.HTTPError as error:
            self.errors.append(repr(error))
        self.seconds.append(time.perf_counter() - started)


async def kill_owner_half_way(folder: Path, url: str, records: int) -> int:
    """Kill the index's owner once half of the records are in; its process id."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while True:
            if (await client.get("/api/ingest/status")).json()["points"] >= records / 2:
                break
            await asyncio.sleep(0.2)
    owner = json.loads((folder / ".spark/qdrant/owner.json").read_text())["pid"]
    os.kill(owner, signal.SIGKILL)
    return int(owner)


async def run(folder: Path, records: int, kill: bool) -> dict[str, Any]:
    """The whole course; what came of it."""
    (folder / "spark.toml").write_text(SETTINGS)
    write_rows(folder / "crm.db", 0, records // 10)
    await spark(folder, "ingest", "backfill")
    write_rows(folder / "crm.db", records // 10, records)
    async with serving(folder) as url:
        searches = Searches(url, records)
        searching = asyncio.create_task(searches.keep_on())
        killing = asyncio.create_task(kill_owner_half_way(folder, url, records)) if kill else None
        report = await spark(folder, "ingest", "backfill")
        killed = await killing if killing else None
        searching.cancel()
        await asyncio.gather(searching, return_exceptions=True)
        status = (await httpx.AsyncClient(timeout=60).get(f"{url}/api/ingest/status")).json()
    seconds = sorted(searches.seconds)
    return {
        "records": records,
        "killed": killed is not None,
        "searches": len(seconds),
        "errors": searches.errors,
        "median_s": round(seconds[len(seconds) // 2], 4),
        "slowest_s": round(seconds[-1], 4),
        "backfill_s": report["seconds"],
        "points": status["points"],
        "lost": records - status["points"],
        "agree": status["kinds"]["note"],
    }


def main() -> None:
    """Run it in a temporary folder and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the records")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.records //= 10
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(run(Path(folder), arguments.records, arguments.kill))
    if arguments.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:<11} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
