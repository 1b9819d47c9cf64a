"""What every text detector must do, as tests; and one for tests that does it.

An implementer subclasses :class:`TextDetectorConformance` and overrides the fixtures ``detector``
and ``private``, a text and a piece of it that the detector finds::

    class TestMine(TextDetectorConformance):
        @pytest.fixture
        def detector(self):
            return MyDetector()

        @pytest.fixture
        def private(self):
            return "My number is 4711-0815.", "4711-0815"
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

import pytest

from ..contracts.detection import Finding, KnownChanges, KnownEntity, TextDetector
from .embedding import ODD_TEXTS
from .suites import AsyncSuite

__all__ = ["FakeKnownEntities", "FakeTextDetector", "TextDetectorConformance"]


class TextDetectorConformance(AsyncSuite):
    """The contract of :class:`~spark_core.contracts.detection.TextDetector`, rule by rule."""

    @pytest.fixture
    def detector(self) -> TextDetector:
        """Override this one: the detector under test."""
        raise NotImplementedError("override the fixture `detector`")

    @pytest.fixture
    def private(self) -> tuple[str, str]:
        """Override this one: a text, and a piece of it that is found."""
        raise NotImplementedError("override the fixture `private`")

    async def test_is_a_detector_with_a_name(self, detector: TextDetector) -> None:
        """It has the contract's methods, and a name to be told by."""
        assert isinstance(detector, TextDetector)
        assert detector.name

    async def test_finds_what_is_private(
        self, detector: TextDetector, private: tuple[str, str]
    ) -> None:
        """What it is for is found where it stands, wherever in the text that is."""
        text, piece = private
        for before in ("", "A line before.\n", "🙂 漢字 e\u0301\n"):
            found = await detector.find(before + text)
            assert piece in {(before + text)[f.start : f.end] for f in found}

    async def test_findings_lie_within_the_text(
        self, detector: TextDetector, private: tuple[str, str]
    ) -> None:
        """Also in odd texts: a kind in capitals, an identity, a place that is not empty."""
        for text in (private[0], *ODD_TEXTS):
            for finding in await detector.find(text):
                assert 0 <= finding.start < finding.end <= len(text)
                assert finding.kind.isupper()
                assert finding.identity
                assert 0 <= finding.score <= 1

    async def test_the_same_is_found_again(
        self, detector: TextDetector, private: tuple[str, str]
    ) -> None:
        """One text has one answer, also at the same time."""
        alone = list(await detector.find(private[0]))
        together = await asyncio.gather(*(detector.find(private[0]) for _ in range(4)))
        assert [list(found) for found in together] == [alone] * 4

    async def test_nothing_is_found_in_nothing(self, detector: TextDetector) -> None:
        """An empty text is not an error."""
        assert list(await detector.find("")) == []


class FakeTextDetector:
    """Finds given words as of one kind. With a ``failure``, every call raises it.

    ``release``, where it is given, is waited for before anything is answered.
    """

    name = "fake"

    def __init__(self, words: Iterable[str] = (), kind: str = "PERSON") -> None:
        self.words = tuple(words)
        self.kind = kind
        self.failure: Exception | None = None
        self.release: asyncio.Event | None = None

    async def find(self, text: str) -> Sequence[Finding]:
        """Each of the words, wherever it stands."""
        if self.release is not None:
            await self.release.wait()
        if self.failure is not None:
            raise self.failure
        return [
            Finding(self.kind, start, start + len(word), f"{self.kind}:{word}", "", 1.0, self.name)
            for word in self.words
            for start in _places(text, word)
        ]


def _places(text: str, word: str) -> Iterable[int]:
    start = text.find(word)
    while start >= 0:
        yield start
        start = text.find(word, start + len(word))


class FakeKnownEntities:
    """Entities in memory, each its own record. They are changed with :meth:`put`, :meth:`remove`.

    ``readings`` counts how often all were read.
    """

    def __init__(self, known: Iterable[KnownEntity] = ()) -> None:
        self.known = {entity.id: entity for entity in known}
        self.failure: Exception | None = None
        self.readings = 0
        self._changed: list[str] = []

    def put(self, entity: KnownEntity) -> None:
        """Add *entity*, or put it in place of the one with its id."""
        self.known[entity.id] = entity
        self._changed.append(entity.id)

    def remove(self, id: str) -> None:
        """Forget the entity called *id*."""
        del self.known[id]
        self._changed.append(id)

    async def version(self) -> str:
        """How often something was changed."""
        if self.failure is not None:
            raise self.failure
        return str(len(self._changed))

    async def changes(self, since: str) -> KnownChanges | None:
        """Those that were put or removed since."""
        ids = dict.fromkeys(self._changed[int(since) :])
        now = {id: [self.known[id]] if id in self.known else [] for id in ids}
        return KnownChanges(await self.version(), now)

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        """All of them."""
        self.readings += 1
        known = list(self.known.values())
        for start in range(0, len(known), batch):
            yield known[start : start + batch]
