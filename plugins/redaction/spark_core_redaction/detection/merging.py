"""Makes one answer out of what all detectors found: in order, nothing twice, nothing lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spark_core.contracts.detection import Finding

__all__ = ["KNOWN", "merged"]

#: The detector of what is known.
KNOWN = "known"

#: Which of two that stand in the same place is told, the first before the others.
_ORDER = (
    "SECRET", "EMAIL", "URL", "IBAN", "CARD", "CRYPTO", "MAC", "IP", "NATIONAL_ID", "PHONE",
    "BIRTH_DATE", "ADDRESS", "PERSON", "ORGANIZATION", "NUMBER", "MONEY", "LOCATION", "GROUP",
    "DATE",
)  # fmt: skip
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}


def merged(text: str, findings: Iterable[Finding]) -> list[Finding]:
    """*findings* without overlaps: of those that overlap the best one, which then covers all."""
    answer: list[Finding] = []
    group: list[Finding] = []
    end = 0
    for finding in sorted(findings, key=lambda f: (f.start, -f.end)):
        if group and finding.start >= end:
            answer += _settled(text, group)
            group = []
        group.append(finding)
        end = max(end, finding.end) if len(group) > 1 else finding.end
    if group:
        answer += _settled(text, group)
    return answer


def _settled(text: str, group: list[Finding]) -> list[Finding]:
    """Of findings that overlap in a chain: the best, and what is left of the others."""
    if len(group) == 1:
        return group
    answer: list[Finding] = []
    for finding in sorted(group, key=_quality):
        for start, end in _uncovered(finding, answer):
            if any(map(str.isalnum, text[start:end])):
                answer.append(_piece(text, finding, start, end))
    return sorted(answer, key=lambda f: f.start)


#: Kinds of which a detector can only guess where they begin and end.
_GUESSED = frozenset({"PERSON", "ORGANIZATION", "LOCATION", "GROUP", "DATE", "MONEY"})


def _quality(finding: Finding) -> tuple[float, ...]:
    """What is sure before what is guessed. Of the sure the long ones come first, of the guessed
    the likely ones: the others lose what they share with them.
    """
    is_known = finding.detector == KNOWN
    guessed = finding.kind in _GUESSED and not is_known
    length = finding.start - finding.end
    rank = _RANK.get(finding.kind, len(_RANK))
    return (
        guessed,
        -finding.score if guessed else length,
        length,
        not is_known,
        -finding.score,
        rank,
    )


def _uncovered(finding: Finding, taken: list[Finding]) -> list[tuple[int, int]]:
    """The pieces of *finding* that none of *taken* covers."""
    pieces = [(finding.start, finding.end)]
    for other in taken:
        pieces = [
            piece
            for start, end in pieces
            for piece in ((start, min(end, other.start)), (max(start, other.end), end))
            if piece[0] < piece[1]
        ]
    return pieces


def _piece(text: str, finding: Finding, start: int, end: int) -> Finding:
    if (start, end) == (finding.start, finding.end):
        return finding
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    rest = " ".join(text[start:end].casefold().split())
    return replace(finding, start=start, end=end, identity=f"{finding.kind}:{rest}", part="")
