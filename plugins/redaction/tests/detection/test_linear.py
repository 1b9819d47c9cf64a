"""No text is slow to read, whoever wrote it: the work grows with its length and no faster."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.settings import KINDS, DetectionSettings

from spark_core.contracts.detection import KnownEntity
from spark_core.testing.detection import FakeKnownEntities

pytestmark = pytest.mark.anyio

HOSTILE = """
a|A|1|1 |12 |1-|a.|@|a@a.|Aa |+1 |(|::|%41|&amp;|QWRh|QWRh/|-----BEGIN A KEY-----|://|password: |
Mr. A|12 Aa |Via Aa |東京都市|路1|é|еa|a\u200b|1 Jan |a [at] b |€1 |DE12 |Aa-|1/|Ada Example |
eyJaaaaaaaa.|ul. Aa |tel |ssn |\\u0041|&#65;|Aa, |AG
"""


@pytest.mark.parametrize("unit", HOSTILE.strip().replace("|\n", "|").split("|"))
async def test_hostile_texts_are_read(unit: str) -> None:
    """Quadratic work on so much of one thing would take minutes: nobody waits that long."""
    known = FakeKnownEntities([KnownEntity("1", names=("Ada Example", "a a a a b", "Aa Aa Aa"))])
    detection = Detection(DetectionSettings(kinds=KINDS, timeout_s=60), [known])
    text = (unit * (10_000 // len(unit)))[:10_000]
    async with asyncio.timeout(60):
        findings = await detection.find(text)
        await detection.verify(text)
    assert all(0 <= f.start < f.end <= len(text) for f in findings)
