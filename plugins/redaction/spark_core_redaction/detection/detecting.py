"""Detection: every detector, over every way to read a text, and one answer that holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

from spark_core.containment import contained
from spark_core.contracts.detection import Finding, KnownEntities, TextDetector
from spark_core.declarations import Provider
from spark_core.errors import DetectionFailed, NotConfigured
from spark_core.plugins import Plugins
from spark_core.references import resolved
from spark_core.resolution import Resolver

from .known.following import Known
from .known.index import KnownIndex
from .merging import KNOWN, merged
from .settings import KINDS, DetectionSettings
from .shapes import Shapes
from .verifying import remains

__all__ = ["Detection", "open_detection"]

T = TypeVar("T")

#: How long it may take to read all that is known, in seconds: there may be millions.
LOADING = 600.0


@asynccontextmanager
async def open_detection(
    settings: DetectionSettings, plugins: Plugins, resolver: Resolver
) -> AsyncIterator[Detection]:
    """Opens all detectors that are installed, and all that know names."""
    async with AsyncExitStack() as stack:

        async def opened(providers: Sequence[Provider[T]]) -> AsyncIterator[T]:
            for provider in providers:
                opener = resolved(provider.open, plugins.distribution_of(provider))
                with suppress(NotConfigured):
                    manager = opener(**await resolver.fill(opener))
                    yield await stack.enter_async_context(manager)

        known = [each async for each in opened(plugins.known_entities())]
        detectors = [each async for each in opened(plugins.text_detectors())]
        detection = Detection(settings, known, detectors)
        stack.push_async_callback(detection.close)
        yield detection


class Detection:
    """Says what is private in a text; whatever keeps it from that raises."""

    def __init__(
        self,
        settings: DetectionSettings | None = None,
        known: Sequence[KnownEntities] = (),
        detectors: Sequence[TextDetector] = (),
    ) -> None:
        self._settings = settings or DetectionSettings()
        self._known = Known(known)
        self._shapes = Shapes(self._settings.kinds, self._known)
        self._detectors = (self._shapes, *detectors)

    async def close(self) -> None:
        """Leave off what nobody waits for any more."""
        await self._known.close()

    async def find(self, text: str) -> list[Finding]:
        """What is private in *text*: in order, and no two overlap.

        :raises DetectionFailed: a detector failed or did not answer in time.
        """
        if not text:
            return []
        await self._index()  # to read it may take longer than a text may
        found = await asyncio.gather(*(self._asked(each, text) for each in self._detectors))
        return merged(text, (f for each in found for f in each if self._is_wanted(f)))

    def _is_wanted(self, finding: Finding) -> bool:
        """Whether it is taken out: kinds of others' making, and what is known, always are."""
        kind = finding.kind
        return kind in self._settings.kinds or kind not in KINDS or finding.detector == KNOWN

    async def verify(
        self, text: str, placeholders: Sequence[tuple[int, int]] = ()
    ) -> list[Finding]:
        """What known or plainly private things are left in *text* outside *placeholders*.

        This reads the text in another way than :meth:`find` does.

        :raises DetectionFailed: it could not be read in time.
        """
        index = await self._index()
        reading = asyncio.to_thread(remains, text, placeholders, index, self._settings.kinds)
        return await self._contained("verification", reading, self._settings.timeout_s)

    async def _index(self) -> KnownIndex:
        return await self._contained("known entities", self._known.current(), LOADING)

    async def _asked(self, detector: TextDetector, text: str) -> Sequence[Finding]:
        found = await self._contained(detector.name, detector.find(text), self._settings.timeout_s)
        for finding in found:
            if not 0 <= finding.start < finding.end <= len(text):
                raise _failed(detector.name, "found something outside of the text")
        return found

    async def _contained(self, name: str, work: Awaitable[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                with contained(name):
                    return await work
        except TimeoutError:
            raise _failed(name, "did not answer in time") from None
        except Exception as error:
            # Neither its words nor what it was raised by: they may hold the text.
            raise _failed(name, f"failed with {type(error).__name__}") from None


def _failed(detector: str, how: str) -> DetectionFailed:
    return DetectionFailed(f"the text detector {detector!r} {how}", detector=detector)
