"""The fakes for detection pass the suites that everybody's must pass."""

from __future__ import annotations

import pytest

from spark_core.contracts.detection import KnownEntities, KnownEntity
from spark_core.testing.detection import (
    FakeKnownEntities,
    FakeTextDetector,
    TextDetectorConformance,
)


class TestFakeTextDetector(TextDetectorConformance):
    @pytest.fixture
    def detector(self) -> FakeTextDetector:
        return FakeTextDetector(["Ada Example"])

    @pytest.fixture
    def private(self) -> tuple[str, str]:
        return "So Ada Example said.", "Ada Example"


@pytest.mark.anyio
async def test_fake_entities_change_their_version(anyio_backend: str) -> None:
    """Whatever is put or removed is another version."""
    known = FakeKnownEntities([KnownEntity("1", names=("Ada Example",))])
    assert isinstance(known, KnownEntities)
    versions = [await known.version()]
    known.put(KnownEntity("2"))
    versions.append(await known.version())
    known.remove("1")
    versions.append(await known.version())
    assert len(set(versions)) == 3
    assert [[e.id for e in batch] async for batch in known.entities()] == [["2"]]
