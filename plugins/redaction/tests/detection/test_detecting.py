"""All detectors answer, or no text leaves; a second look finds what the first left."""

from __future__ import annotations

import asyncio
import traceback

import pytest
from spark_core_redaction.detection.detecting import Detection
from spark_core_redaction.detection.settings import DetectionSettings

from spark_core.contracts.detection import KnownEntity
from spark_core.errors import DetectionFailed
from spark_core.testing.detection import FakeKnownEntities, FakeTextDetector

pytestmark = pytest.mark.anyio

CANARY = "canary-7291"


async def test_what_others_find_counts() -> None:
    """Kinds of their own making, too."""
    detection = Detection(detectors=[FakeTextDetector(["tundra"], "PROJECT")])
    assert [f.kind for f in await detection.find("It is tundra.")] == ["PROJECT"]


@pytest.mark.parametrize("failure", [ValueError(CANARY), RuntimeError(CANARY)])
async def test_a_detector_that_fails_keeps_the_text_back(failure: Exception) -> None:
    """Named, and with no word of the text, neither in its message nor in what caused it."""
    broken = FakeTextDetector()
    broken.failure = failure
    with pytest.raises(DetectionFailed, match="fake") as raised:
        await Detection(detectors=[broken]).find(f"a text with {CANARY}")
    assert CANARY not in "".join(traceback.format_exception_only(raised.value))
    assert raised.value.__cause__ is None
    assert raised.value.detector == "fake"


async def test_a_detector_that_does_not_answer_keeps_the_text_back() -> None:
    """It is given its time, and no more."""
    slow = FakeTextDetector()
    slow.release = asyncio.Event()
    with pytest.raises(DetectionFailed, match="in time"):
        await Detection(DetectionSettings(timeout_s=0.01), detectors=[slow]).find("a text")


async def test_a_failing_crm_keeps_the_text_back() -> None:
    """In both looks."""
    source = FakeKnownEntities()
    source.failure = RuntimeError(CANARY)
    detection = Detection(known=[source])
    for look in (detection.find("a text"), detection.verify("a text")):
        with pytest.raises(DetectionFailed):
            await look


async def test_findings_outside_of_the_text_are_refused() -> None:
    """A detector that counts otherwise would leave something in."""

    class Beyond(FakeTextDetector):
        async def find(self, text: str) -> list:  # type: ignore[type-arg]
            return list(await super().find(text + text))

    with pytest.raises(DetectionFailed, match="outside"):
        await Detection(detectors=[Beyond(["a"])]).find("a")


LEFT = [
    "Ada Example",
    "EXAMPLE, ADA",
    "adaexample",
    "ada@example.com",
    "Ada%20Example",
    "QWRhIEV4YW1wbGU=",
    "&#65;da Example",
    "A\u200bda Example",
    "DE89 3704 0044 0532 0130 00",
    "+43 664 1234567",
    "-----BEGIN PRIVATE KEY-----",
]


@pytest.mark.parametrize("left", LEFT)
async def test_the_second_look_finds_what_is_left(left: str) -> None:
    """In what was decoded, too; placeholders are not looked at."""
    detection = Detection(known=[FakeKnownEntities([KnownEntity("1", names=("Ada Example",))])])
    text = f"[PERSON_1] says {left} today"
    assert await detection.verify(text, [(0, 10)])
    assert not await detection.verify(text, [(0, len(text))])
    assert not await detection.verify("[PERSON_1] says nothing today", [(0, 10)])


@pytest.mark.parametrize("left", LEFT)
async def test_the_second_look_is_content_with_the_first(left: str) -> None:
    """What the first look finds leaves nothing behind."""
    detection = Detection(known=[FakeKnownEntities([KnownEntity("1", names=("Ada Example",))])])
    text = f"Note {left} today"
    for finding in reversed(await detection.find(text)):
        text = text[: finding.start] + "\0" * (finding.end - finding.start) + text[finding.end :]
    assert await detection.verify(text) == []
