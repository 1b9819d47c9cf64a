"""The fake record source keeps the contract, so tests that use it mean something."""

from __future__ import annotations

import pytest

from spark_core.contracts.records import RecordSource
from spark_core.errors import SourceError
from spark_core.testing.records import (
    ROWS,
    FakeRecordSource,
    RecordSourceConformance,
    Row,
    read,
)


class TestFake(RecordSourceConformance):
    """In memory."""

    @pytest.fixture
    def source(self) -> RecordSource:
        return FakeRecordSource(ROWS)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_rows_can_be_changed_and_readings_made_to_fail() -> None:
    """Tests can change what the CRM holds, and take it away."""
    source = FakeRecordSource({"note": [Row("1", "one")]})
    source.rows["note"] = [Row("2", "two")]
    assert [[record.id for record in batch] for batch in await read(source, "note")] == [["2"]]
    source.failure = SourceError("gone")
    with pytest.raises(SourceError):
        await source.counts()
    with pytest.raises(SourceError):
        await read(source, "note")
