"""What every record source must do, and one in memory that does it.

An implementer subclasses :class:`RecordSourceConformance` and overrides the ``source`` fixture
with a source that holds :data:`ROWS`::

    class TestMySource(RecordSourceConformance):
        @pytest.fixture
        async def source(self):
            async with open_my_source(ROWS) as source:
                yield source
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from ..contracts.records import Record, RecordSource, Scalar
from ..errors import NotFound
from .suites import AsyncSuite

__all__ = ["FakeRecordSource", "RecordSourceConformance", "Row", "read"]


@dataclass(frozen=True)
class Row:
    """A row of a source, before it is a record. Without an id it must be left out."""

    id: str | None
    text: str = ""
    title: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


#: What the source under test holds, by kind: repeated ids that do not lie side by side, ids
#: that numbers and texts sort differently, a row without an id, a kind without rows.
ROWS: Mapping[str, Sequence[Row]] = {
    "note": (
        Row("10", "ten", "Ten", {"city": "Brno", "year": 1999}),
        Row("9", "nine, first", "Nine", {"city": "Graz", "year": 2001}),
        Row("a", "a letter", "A", {"city": None, "year": None}),
        Row(None, "nobody can name it", "", {"city": None, "year": None}),
        Row("ä/ö ?", "odd letters: 漢字 🙂", "Ä", {"city": "Łódź", "year": -1}),
        Row("9", "nine, second", "Nine", {"city": "Graz", "year": 2002}),
        Row("A", "a capital", "A", {"city": "", "year": 0}),
        Row("9", "nine, third", "Nine", {"city": "Linz", "year": 2**53}),
        Row("-3", "", "", {"city": "Brno", "year": 1}),
    ),
    "mail": tuple(Row(str(n), f"mail number {n}") for n in range(25)),
    "void": (),
}


async def read(source: RecordSource, kind: str, batch: int = 500) -> list[list[Record]]:
    """Every batch of *kind*."""
    async with aclosing(source.records(kind, batch=batch)) as batches:
        return [list(records) async for records in batches]


class RecordSourceConformance(AsyncSuite):
    """The rules, one test each."""

    @pytest.fixture
    def source(self) -> RecordSource:
        """The source under test, holding :data:`ROWS`: override this."""
        raise NotImplementedError("override the source fixture")

    async def test_is_a_record_source(self, source: RecordSource) -> None:
        """It has the contract's methods."""
        assert isinstance(source, RecordSource)

    async def test_counts_agree_with_what_is_read(self, source: RecordSource) -> None:
        """Every kind is counted, also one without rows; rows without an id are not."""
        counts = await source.counts()
        assert dict(counts) == {"note": 8, "mail": 25, "void": 0}
        for kind, count in counts.items():
            assert sum(map(len, await read(source, kind))) == count

    async def test_rows_without_an_id_are_counted(self, source: RecordSource) -> None:
        """By kind; a kind that has none need not be named."""
        counts = await source.without_id()
        assert {kind: count for kind, count in counts.items() if count} == {"note": 1}

    async def test_its_version_stays_while_nothing_changes(self, source: RecordSource) -> None:
        """Reading is no change; a version fits into a column."""
        before = await source.version()
        await read(source, "note")
        assert await source.version() == before
        assert before is None or 0 < len(before) <= 200

    async def test_what_is_found_by_its_id_is_what_is_read(self, source: RecordSource) -> None:
        """All rows of an id, alike and in the same order; none of another, however alike."""
        for kind in ROWS:
            read_ = [record for batch in await read(source, kind) for record in batch]
            for id in {record.id for record in read_} | {"09", "9.0", " 9", "nobody", "", "'"}:
                assert list(await source.find(kind, id)) == [r for r in read_ if r.id == id]

    async def test_nothing_is_found_of_an_unknown_kind(self, source: RecordSource) -> None:
        """It is refused, like reading it."""
        with pytest.raises(NotFound):
            await source.find("nothing", "1")

    async def test_every_row_is_read_as_it_is(self, source: RecordSource) -> None:
        """Text, title and metadata come unchanged, the rows of one id all of them."""
        found = [record for batch in await read(source, "note") for record in batch]
        assert {record.kind for record in found} == {"note"}
        expected = [row for row in ROWS["note"] if row.id is not None]
        assert Counter(map(_content, found)) == Counter(map(_content, expected))

    async def test_equal_ids_come_together_and_are_told_apart(self, source: RecordSource) -> None:
        """Rows of one id follow each other, with 0, 1, 2 as their occurrence."""
        found = [record for batch in await read(source, "note", 2) for record in batch]
        ids = [record.id for record in found]
        assert [ids.count(id) for id in dict.fromkeys(ids)] == _runs(ids)
        keys = [(record.id, record.occurrence) for record in found]
        assert len(set(keys)) == len(keys)
        assert [n for id, n in keys if id == "9"] == [0, 1, 2]
        assert {n for id, n in keys if id != "9"} == {0}

    @pytest.mark.parametrize("batch", [1, 2, 3, 7, 1000])
    async def test_batches_are_bounded(self, source: RecordSource, batch: int) -> None:
        """No batch is empty or larger than asked for, and none changes what is read."""
        batches = await read(source, "mail", batch)
        assert all(0 < len(records) <= batch for records in batches)
        ids = [record.id for records in batches for record in records]
        assert sorted(ids) == sorted(row.id or "" for row in ROWS["mail"])

    async def test_a_kind_without_rows_has_no_batches(self, source: RecordSource) -> None:
        """Nothing to read is not an error."""
        assert await read(source, "void") == []

    async def test_reading_again_gives_the_same(self, source: RecordSource) -> None:
        """Order and occurrences are those of the time before."""
        assert await read(source, "note") == await read(source, "note")

    async def test_an_unknown_kind_is_not_found(self, source: RecordSource) -> None:
        """The error names the kind."""
        with pytest.raises(NotFound, match="mial"):
            await read(source, "mial")

    async def test_readings_at_the_same_time_do_not_mix(self, source: RecordSource) -> None:
        """Each reading has a place of its own."""
        alone = [await read(source, kind, 2) for kind in ("note", "mail")]
        kinds = ("note", "mail") * 4
        together = await asyncio.gather(*(read(source, kind, 2) for kind in kinds))
        assert together == alone * 4

    async def test_a_reading_can_be_given_up(self, source: RecordSource) -> None:
        """Who stops early closes it; the next reading starts from the beginning."""
        async with aclosing(source.records("mail", batch=2)) as batches:
            async for records in batches:
                assert len(records) == 2
                break
        assert len(await read(source, "mail", 1000)) == 1

    async def test_a_cancelled_reading_ends_quietly(self, source: RecordSource) -> None:
        """Cancelling whoever reads is no other error, and leaves the source usable."""
        for turns in range(6):
            reading = asyncio.create_task(read(source, "mail", 1))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert len(await read(source, "mail", 1000)) == 1


def _content(row: Row | Record) -> tuple[str, str, str, str]:
    return str(row.id), row.text, row.title, repr(sorted(row.metadata.items()))


def _runs(ids: Sequence[str]) -> list[int]:
    """The lengths of the runs of equal ids."""
    runs: list[int] = []
    for before, id in zip([None, *ids], ids, strict=False):
        if id == before:
            runs[-1] += 1
        else:
            runs.append(1)
    return runs


# ------------------------------------------------------------------------------ in memory


class FakeRecordSource:
    """A record source in memory. ``rows`` may be changed between readings.

    With a ``failure`` every reading raises it. ``batches_read`` counts what was handed out.
    """

    def __init__(self, rows: Mapping[str, Sequence[Row]]) -> None:
        self.rows = {kind: list(those) for kind, those in rows.items()}
        self.failure: Exception | None = None
        self.batches_read = 0

    async def counts(self) -> Mapping[str, int]:
        """See :class:`~spark_core.contracts.records.RecordSource`, here and below."""
        if self.failure is not None:
            raise self.failure
        return {kind: len(_named(rows)) for kind, rows in self.rows.items()}

    async def without_id(self) -> Mapping[str, int]:
        """Rows that are no records."""
        if self.failure is not None:
            raise self.failure
        return {kind: len(rows) - len(_named(rows)) for kind, rows in self.rows.items()}

    async def version(self) -> str | None:
        """A hash of all rows."""
        if self.failure is not None:
            raise self.failure
        return hashlib.blake2b(repr(self.rows).encode(errors="surrogatepass")).hexdigest()[:32]

    async def find(self, kind: str, id: str) -> Sequence[Record]:
        """The rows of that id."""
        batches = await read(self, kind)
        return [record for batch in batches for record in batch if record.id == id]

    async def records(
        self, kind: str, *, batch: int = 500
    ) -> AsyncGenerator[Sequence[Record], None]:
        """The records of one kind, by id."""
        if self.failure is not None:
            raise self.failure
        if kind not in self.rows:
            raise NotFound(f"there is no kind {kind!r}")
        found = list(_records(kind, self.rows[kind]))
        for start in range(0, len(found), batch):
            await asyncio.sleep(0)
            self.batches_read += 1
            yield found[start : start + batch]


def _named(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    return [(row.id, row) for row in rows if row.id is not None]


def _records(kind: str, rows: Sequence[Row]) -> list[Record]:
    seen: Counter[str] = Counter()
    records = []
    for id, row in sorted(_named(rows), key=lambda named: named[0]):
        records.append(Record(kind, id, row.text, row.title, dict(row.metadata), seen[id]))
        seen[id] += 1
    return records
