"""Cuts long texts into pieces that an embedder can take in.

Measured: the splitting library that was tried took 4.5 s for a megabyte without paragraphs;
a CRM has such notes, and our CPU must stay small beside the model's.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["chunks"]

#: Where to cut, best first.
BOUNDARIES = ("\n\n", "\n", ". ", " ")


def chunks(text: str, size: int) -> Iterator[str]:
    """*text* in pieces of at most *size* characters, cut where a reader would pause.

    They are about equally long: a short rest would be taken for more than it is, since BM25
    favours short texts. Nothing is lost but white space at the cuts. A text that is blank has
    no pieces.
    """
    start = 0
    while start < len(text):
        end = _cut(text, start, _fair_share(len(text) - start, size))
        if piece := text[start:end].strip():
            yield piece
        start = end


def _fair_share(left: int, size: int) -> int:
    """The longest that the next of *left* characters' pieces may be.

    A tenth is added to an equal share, so that the good places to cut need not be even.
    """
    pieces = -(-left // size)
    return min(size, left // pieces + size // 10)


def _cut(text: str, start: int, longest: int) -> int:
    """Where the piece that begins at *start* ends: at the last good place in its second half."""
    end = start + longest
    if end >= len(text):
        return len(text)
    for boundary in BOUNDARIES:
        found = text.rfind(boundary, start + longest // 2, end)
        if found >= 0:
            return found + len(boundary)
    return end
