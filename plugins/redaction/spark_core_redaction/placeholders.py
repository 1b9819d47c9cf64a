"""Placeholders: how they are written, and what models make of them.

``[PERSON_7]`` is a person; ``[PERSON_7_GIVEN]`` is a part of their name; ``[PERSON_7_2]`` and
``[PERSON_7_GIVEN_2]`` are other ways in which the same was written. What stands between the
brackets is the placeholder's *key*.

Written exactly so, any kind is recognised. Models change them; of the kinds that are known here
these are recognised, too, in any case:

- other or escaped brackets, spaces within, ``-`` or nothing for ``_``, an ``s`` within;
- no brackets, where ``_`` is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["BEGUN", "KINDS", "LITERAL", "LONGEST", "PLACEHOLDER", "key_of", "lookalikes", "written"]

#: What was no finding, but would be taken for a placeholder.
LITERAL: Final = "LITERAL"

#: The kinds whose placeholders are recognised also when they were changed.
KINDS: Final = (
    "ADDRESS", "BIRTH_DATE", "CARD", "CRYPTO", "DATE", "EMAIL", "IBAN", "ID", "IP", LITERAL,
    "LOCATION", "MAC", "MONEY", "NAME", "NATIONAL_ID", "NUMBER", "ORGANIZATION", "PERSON", "PHONE",
    "PRIVATE", "SECRET", "URL", "USERNAME",
)  # fmt: skip

_NUMBER = "[1-9][0-9]{0,8}"
_WORD = "[A-Z]{1,24}"
_EXACT = rf"\[(?P<exact>(?-i:{_WORD}(?:_{_WORD}){{0,2}}_{_NUMBER}(?:_{_WORD})?(?:_{_NUMBER})?))\]"

_LINE = r"\\?_"  # Markdown escapes it
_KIND = "|".join(kind.replace("_", _LINE) for kind in sorted(KINDS, key=len, reverse=True))
_GAP = r"(?:\\?[_-]|\ )"
_LOOSE_KIND = _KIND.replace(_LINE, _GAP)
_OPEN = r"(?:(?P<escaped>\\)?\[|［|【|%5B)"
_CLOSE = r"(?:(?(escaped)\\)\]|］|】|%5D)"
_LOOSE = (
    rf"{_OPEN}\ {{0,2}}(?P<loose>(?:{_LOOSE_KIND}){_GAP}?{_NUMBER}(?:{_GAP}{_WORD})?"
    rf"(?:{_GAP}{_NUMBER})?)(?P<ending>['’]?s)?\ {{0,2}}{_CLOSE}"
)

_BEFORE = "(?<![A-Z0-9])(?<![A-Z0-9]_)"
_AFTER = rf"(?=s?(?![A-Z0-9]|{_LINE}[A-Z0-9]))"
_BARE = (
    rf"{_BEFORE}(?P<bare>(?:{_KIND}){_LINE}{_NUMBER}(?:{_LINE}{_WORD})?(?:{_LINE}{_NUMBER})?)"
    rf"{_AFTER}"
)

_FLAGS = re.ASCII | re.IGNORECASE

#: Finds what is, or may have been, a placeholder.
PLACEHOLDER: Final = re.compile(f"{_EXACT}|{_LOOSE}|{_BARE}", _FLAGS)

#: More characters than any placeholder has, with what is looked at behind it.
LONGEST: Final = 200


def _beginnings(word: str) -> Iterator[str]:
    """How *word* begins, with escapes: ``P``, ``PE``, ..."""
    pieces = re.findall(r"\(\?:.*\)|\\\\\?.|.", word)
    return ("".join(pieces[:length]) for length in range(1, len(pieces)))


def _begun() -> str:
    """A pattern of what more text may make a placeholder, or another one, at a text's end.

    It says yes too often rather than too seldom: whatever it takes is only said later.
    """
    bare_words = {b for k in KINDS for b in _beginnings(k.replace("_", _LINE))}
    loose_words = {b for k in KINDS for b in _beginnings(k.replace("_", _GAP))}
    split = r"\\"  # of an escape, only this may be there yet
    bare = (
        rf"{_BEFORE}(?:{'|'.join(sorted(bare_words))}|(?:{_KIND})(?:{_LINE}?"
        rf"(?:{_NUMBER}[A-Z0-9_\\]{{0,60}})?)?){split}?"
    )
    loose = (
        rf"(?:\\?\[|［|【|%5B)\ {{0,2}}(?:{'|'.join(sorted(loose_words))}|(?:{_LOOSE_KIND})"
        rf"(?:{_GAP}?(?:{_NUMBER}[A-Z0-9_\\ %'’-]{{0,60}})?)?)?{split}?"
    )
    exact = (
        r"\[(?-i:[A-Z]{0,24}(?:_[A-Z]{0,24}){0,2}"
        rf"(?:_(?:{_NUMBER}(?:_[A-Z]{{0,24}})?(?:_[0-9]{{0,9}})?)?)?)"
    )
    return rf"(?:{exact}|{loose}|{bare}|\\|%5?)\Z"


#: Finds where, at the end of a text, a placeholder may have begun.
BEGUN: Final = re.compile(_begun(), _FLAGS)


def written(kind: str, number: int, part: str, variant: int) -> str:
    """The key of a placeholder; the first variant is not told."""
    words = (kind, str(number), part, str(variant) if variant > 1 else "")
    return "_".join(filter(None, words))


def key_of(found: re.Match[str]) -> str:
    """The key that *found* stands for, whatever was made of it."""
    body = found["exact"] or found["loose"] or found["bare"]
    return "_".join(re.findall("[A-Z]+|[0-9]+", body.upper()))


def lookalikes(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """What in *text* from *start* to *end* would be taken for a placeholder, in order.

    What stands there is looked at as if placeholders stood around it. What is found will be
    replaced, which makes neighbours of what was apart: so it is looked again between.
    """
    found = [(start + m.start(), start + m.end()) for m in PLACEHOLDER.finditer(text[start:end])]
    if not found:
        return []
    edges = [start, *(edge for span in found for edge in span), end]
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        found += lookalikes(text, left, right)
    return sorted(found)
