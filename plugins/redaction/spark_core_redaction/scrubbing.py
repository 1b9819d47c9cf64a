"""Scrubbing: what is private in texts is replaced, and a second look must find nothing left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from spark_core.contracts.detection import Finding
from spark_core.errors import Problem, SparkError

from .drafts import Draft, Written
from .placeholders import LITERAL
from .restoring import Restorer
from .vault import Vault
from .withheld import Withheld

__all__ = ["Looking", "Redaction", "Scrubbed"]


class Looking(Protocol):
    """Looks for what is private; what it raises must hold nothing of the text."""

    async def find(self, text: str) -> Sequence[Finding]:
        """What is private in *text*, in order, without overlaps."""
        ...

    async def verify(self, text: str, placeholders: Sequence[tuple[int, int]]) -> Sequence[Finding]:
        """What is still private in the scrubbed *text*, found in another way."""
        ...


@dataclass(frozen=True)
class Scrubbed:
    """Texts that may leave, what restores them, and how much was replaced in each, by kind."""

    texts: Sequence[str]
    handle: str
    found: Sequence[Mapping[str, int]]

    @property
    def counts(self) -> Mapping[str, int]:
        """How much was replaced in all of them, by kind."""
        counts = sum(map(Counter, self.found), Counter[str]())
        return dict(sorted(counts.items()))

    @property
    def scope(self) -> str:
        """What to scrub with next in the same scope."""
        return self.handle


class Redaction:
    """Scrubs texts before they leave, and restores what comes back."""

    def __init__(self, looking: Looking, vault: Vault) -> None:
        self._looking = looking
        self._vault = vault

    async def scrub(
        self,
        texts: Sequence[str],
        scope: str | None = None,
        *,
        pointers: Sequence[str] | None = None,
    ) -> Scrubbed:
        """Replace what is private in *texts*, which belong together.

        *scope* is a handle that an earlier call gave, a name, or None for a scope of its own.
        *pointers* say where each text comes from, as JSON pointers.

        :raises Withheld: something private was left, or whoever looks for it failed.
        :raises NotFound: *scope* is a handle that opens nothing (any more).
        """
        places = pointers or [f"/texts/{number}" for number in range(len(texts))]
        drafts = [
            Draft.of(text, await _answered(self._looking.find(text), place))
            for text, place in zip(texts, places, strict=True)
        ]
        mentions = [piece.mention for draft in drafts for piece in draft.pieces]
        handle, keys = await self._vault.replace(mentions, scope)
        written = [draft.written(keys) for draft in drafts]
        await self._verify(written, places)
        return Scrubbed([each.text for each in written], handle, [*map(_counted, drafts)])

    async def _verify(self, written: Sequence[Written], places: Sequence[str]) -> None:
        """Look again, at what would leave.

        :raises Withheld: something private is left, or whoever looks for it failed.
        """
        left: list[tuple[Finding, Problem]] = []
        for each, place in zip(written, places, strict=True):
            looking = self._looking.verify(each.text, each.placeholders)
            left += [(f, _problem(f, each, place)) for f in await _answered(looking, place)]
        if left:
            counts = Counter(finding.kind for finding, _ in left)
            told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            problems = [problem for _, problem in left]
            raise Withheld(f"private text is left: {told}", problems=problems, counts=counts)

    async def see_apart(self, pieces: Sequence[str], place: str) -> None:
        """See that nothing private begins in one of *pieces* and goes on in the next.

        :raises Withheld: it does, or whoever looks for it failed.
        """
        found = await _answered(self._looking.find("".join(pieces)), place)
        edges = list(accumulate(map(len, pieces)))[:-1]
        cut = [f for f in found if any(f.start < edge < f.end for edge in edges)]
        if cut:
            counts = Counter(finding.kind for finding in cut)
            problems = [Problem(place, f"{f.kind} goes on in the next part") for f in cut]
            raise Withheld("private text is cut in parts", problems=problems, counts=counts)

    async def restorer(self, handle: str, *, json: bool = False) -> Restorer:
        """What restores one text of *handle*'s scope; with *json* one that is JSON.

        :raises NotFound: *handle* opens nothing (any more).
        """
        return Restorer(await self._vault.forms(handle), json=json)


def _counted(draft: Draft) -> Mapping[str, int]:
    kinds = (piece.mention.kind for piece in draft.pieces)
    return Counter(kind for kind in kinds if kind != LITERAL)


async def _answered(looking: Awaitable[Sequence[Finding]], place: str) -> Sequence[Finding]:
    """What was found.

    :raises Withheld: nobody can say what there is.
    """
    try:
        return await looking
    except SparkError as error:
        reason = error.message
    except Exception as error:  # its text may quote what it looked at
        reason = f"looking for private text failed: {type(error).__name__}"
    raise Withheld(reason, problems=[Problem(place, "nobody knows what is private here")])


def _problem(finding: Finding, written: Written, place: str) -> Problem:
    start, end = written.original(finding.start, finding.end)
    return Problem(place, f"{finding.kind} at characters {start} to {end}")
