"""The operation that finds out who is who."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field

from spark_core import Caller, Progress
from spark_core.state import Leases

from ..alone import alone
from ..settings import IngestSettings
from . import joining
from .matching import Matching, load, open_matching
from .profiles import Key, profiles, source_of
from .registry import RECORDS, Entities
from .settling import Group

if TYPE_CHECKING:
    import duckdb

__all__ = ["LEASE", "ResolveReport", "matched", "resolve"]

T = TypeVar("T")

#: One run at a time writes who is who.
LEASE = "ingest:resolve"


class ResolveReport(BaseModel, defer_build=True):
    """What came of finding out who is who."""

    records: int = Field(description="Records that can be recognised, of all kinds.")
    entities: int = Field(description="People and firms that they are of.")
    merged: int = Field(description="Records that share their entity with another.")
    certain: int = Field(description="Pairs of records that are one for certain.")
    suggestions: int = Field(description="Pairs that a person may confirm or refuse.")
    changed: int = Field(description="Records of which something is new.")
    gone: int = Field(description="Records that are no longer in the CRM.")
    warnings: list[str] = Field(default=[], description="What should not stay as it is.")
    seconds: float


async def resolve(
    settings: IngestSettings,
    entities: Entities,
    leases: Leases,
    progress: Progress,
    caller: Caller,
) -> ResolveReport:
    """Find out which records are of one person or firm, over all kinds with a `match` table.

    The same input gives the same ids, whatever its order. Ids stay when records come and go; what
    people decided is kept, also while it runs. Needs the database alone. Can be stopped at any
    moment.
    """
    started = time.perf_counter()
    source = source_of(settings)
    if source is None:
        nothing = dict.fromkeys(list(ResolveReport.model_fields)[:7], 0)
        warning = "no kind says by what its records are recognised: describe its match table"
        return ResolveReport(**nothing, warnings=[warning], seconds=0.0)
    total = sum((await source.counts()).values())
    await load()
    async with alone(leases, LEASE, f"a resolve by {caller.name}", progress):
        run = await entities.begin()
        with open_matching() as matching:
            await matched(matching, settings, total, progress)
            decided = await entities.decisions()
            verdicts = [(d.a, d.b, d.verdict) for d in decided]
            progress.update("joining")
            await within(matching, lambda: joining.join(matching.connection, verdicts))
            writing = _Writing(matching, entities, run, progress)
            report = await writing.write(time.perf_counter() - started)
        await entities.catch_up(decided)
        await entities.end(run, matching.records)
    return report.model_copy(update={"seconds": round(time.perf_counter() - started, 3)})


async def matched(
    matching: Matching,
    settings: IngestSettings,
    total: int,
    progress: Progress,
    pair: tuple[Key, Key] | None = None,
) -> None:
    """Read all records, and weigh those pairs that may be one, or *pair* alone."""
    async for batch in profiles(settings):
        await within(matching, lambda batch=batch: matching.add(batch))  # type: ignore[misc]
        progress.update("reading", done=matching.records, total=total, unit="records")
    progress.update("comparing", unit="pairs")
    loop = asyncio.get_running_loop()

    def told(done: int, total: int) -> None:
        def tell() -> None:
            progress.update("comparing", done=done, total=total, unit="pairs")

        loop.call_soon_threadsafe(tell)

    await within(matching, lambda: matching.match_pair(*pair) if pair else matching.match(told))
    await within(matching, matching.judge)


async def within(matching: Matching, work: Callable[[], T]) -> T:
    """Run *work* in a thread; where nobody waits any more it is interrupted, and has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            matching.connection.interrupt()
            await asyncio.wait([task], timeout=0.1)
        task.exception()
        raise


class _Writing:
    """Brings the state in line with what a run found, some records at a time."""

    def __init__(
        self, matching: Matching, entities: Entities, run: int, progress: Progress
    ) -> None:
        self._matching = matching
        self._entities = entities
        self._run = run
        self._progress = progress

    async def write(self, seconds: float) -> ResolveReport:
        gone = await self._forget()
        changed = await self._settle()
        await self._put_links()
        counts = await within(self._matching, self._counts)
        return ResolveReport(**counts, changed=changed, gone=gone, seconds=seconds)

    def _counts(self) -> dict[str, int]:
        records, merged = self._matching.records, self._count("joined")
        return {
            "records": records,
            "entities": records - merged + self._count(_ENTITIES),
            "merged": merged,
            "certain": self._count("scored WHERE doubt IS NULL"),
            "suggestions": self._count(_SUGGESTIONS),
        }

    def _count(self, what: str) -> int:
        (number,) = self._connection.execute(f"SELECT count(*) FROM {what}").fetchone() or (0,)
        return int(number)

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return self._matching.connection

    async def _forget(self) -> int:
        """Forget the records that are gone, before ids are given to those that are there."""
        forgotten = 0
        joining.remember(self._connection)
        async for known in self._entities.known():
            gone = await within(self._matching, lambda known=known: self._missing(known))  # type: ignore[misc]
            if gone:
                await self._entities.forget(gone)
            forgotten += len(gone)
        return forgotten

    def _missing(self, known: Sequence[Sequence[Any]]) -> list[Key]:
        """Those of some *known* records that are gone; the others are remembered."""
        connection = self._connection
        connection.execute("CREATE OR REPLACE TEMP TABLE some_known AS FROM known LIMIT 0")
        joining.insert(connection, "some_known", known)
        connection.execute("INSERT INTO known FROM some_known SEMI JOIN record USING (kind, id)")
        query = "SELECT kind, id FROM some_known ANTI JOIN record USING (kind, id)"
        return connection.execute(query).fetchall()

    async def _settle(self) -> int:
        changed = 0
        groups = joining.changed_groups(self._connection)
        while some := await within(self._matching, lambda: _some(groups)):
            changed += await self._entities.settle(some, self._run)
            self._tell("writing entities", changed, None)
        return changed

    async def _put_links(self) -> None:
        total, done = self._count("scored"), 0
        pairs = joining.pairs(self._connection)
        while some := await within(self._matching, lambda: list(itertools.islice(pairs, RECORDS))):
            await self._entities.put_links(some, self._run)
            done += len(some)
            self._tell("writing links", done, total)
        await self._entities.forget_links(self._run)

    def _tell(self, phase: str, done: int, total: int | None) -> None:
        self._progress.update(phase, done=done, total=total, unit="records")


_ENTITIES = "(SELECT DISTINCT c FROM joined)"

#: Pairs that may be one, are not, and of which nobody has decided.
_SUGGESTIONS = """
scored LEFT JOIN joined a ON a.n = l LEFT JOIN joined b ON b.n = r
WHERE coalesce(a.c, l) <> coalesce(b.c, r)
  AND NOT EXISTS (FROM decided d WHERE d.l = scored.l AND d.r = scored.r)
"""


def _some(groups: Iterator[Group]) -> list[Group]:
    """The next groups, of about as many records as one transaction should write."""
    some: list[Group] = []
    records = 0
    for group in groups:
        some.append(group)
        records += len(group)
        if records >= RECORDS:
            break
    return some
