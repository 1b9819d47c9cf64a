"""The detector that needs nothing but the text: shapes, and what is known."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from spark_core.contracts.detection import Finding

from .known.following import Known
from .known.index import KnownIndex
from .letters import fold
from .merging import KNOWN
from .patterns import (
    days,
    firms,
    gazetteer,
    money,
    net,
    registers,
    salutations,
    secrets,
    streets,
    telephones,
)
from .patterns.hits import Pattern
from .views import View, views

__all__ = ["Shapes"]

#: Longer texts are read in a thread, as others wait meanwhile.
SHORT = 2000

#: What finds each kind.
PATTERNS: Sequence[tuple[str, Pattern]] = (
    ("EMAIL", net.emails),
    ("URL", net.urls),
    ("IP", net.ip_addresses),
    ("MAC", net.mac_addresses),
    ("IBAN", money.ibans),
    ("CARD", money.cards),
    ("MONEY", money.amounts),
    ("PHONE", telephones.telephones),
    ("NATIONAL_ID", registers.national_ids),
    ("BIRTH_DATE", days.birth_dates),
    ("DATE", days.dates),
    ("ADDRESS", streets.addresses),
    ("SECRET", secrets.secrets),
    ("CRYPTO", secrets.coins),
    ("PERSON", salutations.introduced),
    ("PERSON", gazetteer.given_names),
    ("ORGANIZATION", firms.firms),
    ("LOCATION", gazetteer.countries),
    ("GROUP", gazetteer.peoples),
)


#: What has a digit in any case: in most texts without one there is nothing to look for.
NUMBERED: frozenset[Pattern] = frozenset(
    {
        net.ip_addresses,
        money.ibans,
        money.cards,
        money.amounts,
        telephones.telephones,
        registers.national_ids,
        days.birth_dates,
    }
)
_DIGIT = re.compile(r"\d")


class Shapes:
    """Finds what is written like something private, and what is known, in every view."""

    name = "shapes"

    def __init__(self, kinds: Collection[str], known: Known) -> None:
        self._patterns = [pattern for kind, pattern in PATTERNS if kind in kinds]
        self._unnumbered = [pattern for pattern in self._patterns if pattern not in NUMBERED]
        self._known = known

    async def find(self, text: str) -> Sequence[Finding]:
        """See :class:`~spark_core.contracts.detection.TextDetector`."""
        index = await self._known.current()
        if len(text) <= SHORT:
            return self._found(text, index)
        return await asyncio.to_thread(self._found, text, index)

    def _found(self, text: str, index: KnownIndex) -> list[Finding]:
        """What is in all views. What is torn out of an escape counts only if nothing else is."""
        found: list[Finding] = []
        decoded: View | None = None
        for view in reversed(list(views(text))):
            layer = decoded.layer_over(view) if decoded else None
            for hit in self._read(view.text, index):
                start, end = layer.whole(hit.start, hit.end) if layer else (hit.start, hit.end)
                torn = (start, end) != (hit.start, hit.end)
                finding = _finding(text, view, hit, start, end)
                if not (torn and _overlaps(finding, found)):
                    found.append(finding)
            decoded = view
        return found

    def _read(self, text: str, index: KnownIndex) -> Iterator[Finding]:
        """What is in one view, where it stands there."""
        for match in index.find(text):
            yield _hanging_together(text, Finding(*match, 1.0, KNOWN))
        has_digit = _DIGIT.search(text) is not None
        for digits in _DIGITS.finditer(text) if has_digit else ():
            if number := index.phone(digits[0]):
                yield Finding("PHONE", *digits.span(), f"PHONE:{number}", "", 1.0, KNOWN)
        for pattern in self._patterns if has_digit else self._unnumbered:
            for kind, start, end, value, score in pattern(text):
                if kind == "PHONE":
                    value = index.phone(value) or value
                yield Finding(kind, start, end, f"{kind}:{value}", "", score, self.name)


def _finding(text: str, view: View, hit: Finding, start: int, end: int) -> Finding:
    """*hit* of *view*, from *start* to *end*, as a finding of *text*.

    Where more than it must be taken out of the text, a block of base64, it is that block.
    """
    first, last = view.span(start, end)
    identity = hit.identity
    if view.inner is not None and view.holds_more(start, end):
        digest = hashlib.blake2b(text[first:last].encode(errors="surrogatepass"), digest_size=16)
        identity = f"ENCODED:{digest.hexdigest()}"
    return replace(hit, start=first, end=last, identity=identity)


#: Names that a hyphen or an apostrophe joins to what stands before or behind them.
_BEFORE = re.compile(r"(?<![\w'-])(?:[^\W\d_]{1,25}[-'])+$")
_BEHIND = re.compile(r"(?:[-'][^\W\d_]{2,25})+")
_SPLIT = re.compile(r"[^\W\d_]+").findall


#: A telephone number that is known need not be written like one, nor stand alone.
_DIGITS = re.compile(r"(?<!\d)\+?\d(?:[^\w\n]{0,3}_?\d){6,16}(?!\d)")


def _hanging_together(text: str, found: Finding) -> Finding:
    """*found* with what makes one name with it: all of Lee-Example, of O'Example.

    But for such a prefix this may be another name than the known one, so it stands for itself.
    """
    if found.kind != "PERSON":
        return found
    before = _BEFORE.search(text[max(0, found.start - 30) : found.start])
    behind = _BEHIND.match(text, found.end)
    start, end = found.start, found.end
    if before and all(word.istitle() or word.isupper() for word in _SPLIT(before[0])):
        start -= len(before[0])
    if behind and all(word[0].isupper() for word in _SPLIT(behind[0])):
        end = behind.end()
    if (start, end) == (found.start, found.end):
        return found
    if end == found.end and found.start - start <= 3 and text[found.start - 1] == "'":
        return replace(found, start=start)
    words = " ".join(map(fold, _SPLIT(text[start:end])))
    return replace(found, start=start, end=end, identity=f"PERSON:{words}", part="")


def _overlaps(finding: Finding, others: Sequence[Finding]) -> bool:
    return any(other.start < finding.end and finding.start < other.end for other in others)
