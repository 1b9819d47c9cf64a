"""A text of which it is known what is to be replaced, before the placeholders are."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from spark_core.contracts.detection import Finding
from spark_core.errors import PluginError

from .forms import JsonText, Mention, mention
from .placeholders import LITERAL, lookalikes

__all__ = ["Draft", "Piece", "Written"]

Span = tuple[int, int]

#: An escape of JSON; a pair of them where one character is written so.
_ESCAPE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text that is to be replaced."""

    start: int
    end: int
    mention: Mention


@dataclass(frozen=True)
class Written:
    """A text with placeholders: where they stand, and which pieces stood there before."""

    text: str
    placeholders: Sequence[Span]
    pieces: Sequence[Piece]

    def original(self, start: int, end: int) -> Span:
        """Where in the original what stands from *start* to *end* was, placeholders as a whole."""
        return self._original(start, 0), self._original(end, 1)

    def _original(self, offset: int, edge: int) -> int:
        shift = 0
        for (start, end), piece in zip(self.placeholders, self.pieces, strict=True):
            if offset <= start:
                break
            if offset < end:
                return (piece.start, piece.end)[edge]
            shift = piece.end - end
        return offset + shift


@dataclass(frozen=True)
class Draft:
    """A text and the pieces of it that are to be replaced, in order."""

    text: str
    pieces: Sequence[Piece]

    @classmethod
    def of(cls, text: str, findings: Iterable[Finding]) -> Draft:
        """*text* with its *findings*, and with what else would be taken for a placeholder.

        :raises PluginError: the findings overlap, or lie elsewhere.
        """
        return cls(text, sorted(_pieces(text, findings), key=lambda piece: piece.start))

    def written(self, keys: Mapping[Mention, str]) -> Written:
        """The text with the placeholders that have these *keys*."""
        parts, spans, length, end = list[str](), list[Span](), 0, 0
        for piece in self.pieces:
            placeholder = f"[{keys[piece.mention]}]"
            parts += [self.text[end : piece.start], placeholder]
            length += piece.start - end
            spans.append((length, length + len(placeholder)))
            length, end = spans[-1][1], piece.end
        return Written("".join([*parts, self.text[end:]]), spans, self.pieces)


def _pieces(text: str, findings: Iterable[Finding]) -> Iterator[Piece]:
    is_json, end = isinstance(text, JsonText), 0
    for finding, start, stop in _placed(text, findings, is_json=is_json):
        if (start := max(start, end)) < stop:  # an escape may have gone with what is before
            yield from _literals(text, end, start, is_json=is_json)
            written, end = text[start:stop], stop
            found = mention(finding.kind, finding.identity, finding.part, written, is_json=is_json)
            yield Piece(start, end, found)
    yield from _literals(text, end, len(text), is_json=is_json)


def _placed(
    text: str, findings: Iterable[Finding], *, is_json: bool
) -> Iterator[tuple[Finding, int, int]]:
    escapes = [found.span() for found in _ESCAPE.finditer(text)] if is_json else []
    end = 0
    for finding in findings:
        if not end <= finding.start < finding.end <= len(text):
            raise PluginError("what was found overlaps")
        yield finding, *_uncut(escapes, finding.start, finding.end)
        end = finding.end


def _uncut(escapes: Sequence[Span], start: int, end: int) -> Span:
    """The span with the whole of an escape that it begins or ends in."""
    first = bisect_left(escapes, (start,)) - 1
    if first >= 0 and escapes[first][1] > start:
        start = escapes[first][0]
    last = bisect_left(escapes, (end,)) - 1
    return start, max(end, escapes[last][1]) if last >= 0 else end


def _literals(text: str, start: int, end: int, *, is_json: bool) -> Iterator[Piece]:
    for first, last in lookalikes(text, start, end):
        written = text[first:last]
        yield Piece(first, last, mention(LITERAL, written, "", written, is_json=is_json))
