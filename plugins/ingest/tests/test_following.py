"""Entries are found whatever order they were written in, and mostly without a look-up."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spark_core_ingest.following import Following
from spark_core_ingest.ledger import Ledger

from spark_core.contracts.records import Record

pytestmark = pytest.mark.anyio


async def write(ledger, generation, keys, kind="note"):
    records = [Record(kind, id, "", occurrence=occurrence) for id, occurrence in keys]
    await ledger.put(generation, [(record, b"hash", 1, 1) for record in records])


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    written=st.permutations([(str(n), 0) for n in range(12)]),
    wanted=st.lists(st.integers(0, 15), unique=True, min_size=1),
    batch=st.integers(1, 5),
)
async def test_whatever_the_order(state, written, wanted, batch):
    """Those that were written are found, and no others; other builds and kinds are not seen."""
    ledger, generation = Ledger(state), uuid.uuid4().hex
    for index, key in enumerate(written):
        await write(ledger, generation, [key])
        if index % 3 == 0:
            await write(ledger, generation, [key], "mail")
            await write(ledger, f"{generation[:20]}-other", [("other", index)])
    following, found = Following(ledger, generation), set()
    keys = [(str(n), 0) for n in wanted]
    for start in range(0, len(keys), batch):
        some = keys[start : start + batch]
        entries = await following.entries("note", some)
        assert all(entry.kind == "note" for entry in entries.values())
        found |= {key for key in some if key in entries}
    assert found == {key for key in keys if int(key[0]) < 12}


async def test_in_the_order_of_writing_nothing_is_looked_up(state, monkeypatch):
    """Not even behind rows that are gone or were added late."""
    ledger = Ledger(state)
    keys = [(str(n), 0) for n in range(1000)]
    await write(ledger, "g", keys)
    looked_up = 0
    entries = Ledger.entries

    async def counted(self, generation, kind, some):
        nonlocal looked_up
        looked_up += len(some)
        return await entries(self, generation, kind, some)

    monkeypatch.setattr(Ledger, "entries", counted)
    following = Following(ledger, "g")
    for start in range(0, 1000, 50):
        assert len(await following.entries("note", keys[start : start + 50])) == 50
    assert looked_up == 0
