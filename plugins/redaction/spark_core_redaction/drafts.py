"""A text of which it is known what is to be replaced, before the placeholders are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from spark_core.contracts.detection import Finding
from spark_core.errors import PluginError

from .forms import JsonText, Mention, mention
from .placeholders import LITERAL, lookalikes

__all__ = ["Draft", "Piece", "Written"]

Span = tuple[int, int]


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
    for finding in findings:
        if not end <= finding.start < finding.end <= len(text):
            raise PluginError("what was found overlaps")
        yield from _literals(text, end, finding.start, is_json=is_json)
        written, end = text[finding.start : finding.end], finding.end
        found = mention(finding.kind, finding.identity, finding.part, written, is_json=is_json)
        yield Piece(finding.start, end, found)
    yield from _literals(text, end, len(text), is_json=is_json)


def _literals(text: str, start: int, end: int, *, is_json: bool) -> Iterator[Piece]:
    for first, last in lookalikes(text, start, end):
        written = text[first:last]
        yield Piece(first, last, mention(LITERAL, written, "", written, is_json=is_json))
