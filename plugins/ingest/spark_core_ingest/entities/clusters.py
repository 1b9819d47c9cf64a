"""Joins records into entities, link by link, and keeps apart what cannot be one.

A chain of links is no proof: where A is B and B is C, A and C are one only if nothing that is
known of them contradicts it. The strongest links are taken first, so the weakest is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["REFUSED", "Barrier", "Clustering", "Facts", "cluster"]

Node = TypeVar("Node", bound=Hashable)

#: Why two records are kept apart that a person refused to be one.
REFUSED = "somebody refused it"

#: A pair of records, the older first.
Pair = tuple[Node, Node]


@dataclass(frozen=True, slots=True)
class Facts:
    """What cannot be two things at once of one person: given name, birth date, numbers."""

    given: str | None = None
    family: str | None = None
    births: Sequence[str] = ()
    ids: Sequence[str] = ()


@dataclass(frozen=True)
class Barrier(Generic[Node]):
    """A link that did not join: the two records that cannot be one, and why, in words."""

    pair: Pair[Node]
    between: Pair[Node]
    why: str


@dataclass
class Clustering(Generic[Node]):
    """What came out: every record's group, and the links that joined nothing."""

    groups: dict[Node, list[Node]] = field(default_factory=dict)
    barriers: list[Barrier[Node]] = field(default_factory=list)


def cluster(
    links: Iterable[Pair[Node]],
    facts: Mapping[Node, Facts],
    *,
    confirmed: Iterable[Pair[Node]] = (),
    refused: Collection[Pair[Node]] = (),
) -> Clustering[Node]:
    """Join *links*, the strongest first; before them what a person *confirmed*.

    What a person *refused* is never joined, by no way round either. A link joins two groups
    unless what is known of them differs; a link of its own between the records that differ
    outweighs that. No link is asked about what a person confirmed.
    """
    links = list(links)
    joining = _Joining(facts, set(links), set(refused))
    for pair in confirmed:
        joining.join(pair, joining.refusal)
    for pair in links:
        joining.join(pair, joining.barrier)
    return Clustering(joining.groups, joining.barriers)


class _Joining(Generic[Node]):
    def __init__(
        self, facts: Mapping[Node, Facts], links: set[Pair[Node]], refused: set[Pair[Node]]
    ) -> None:
        self.groups: dict[Node, list[Node]] = {}
        self.barriers: list[Barrier[Node]] = []
        self._facts = facts
        self._links = links
        self._refused = refused

    def join(
        self, pair: Pair[Node], check: Callable[[list[Node], list[Node]], _Found[Node] | None]
    ) -> None:
        one, other = (self.groups.setdefault(node, [node]) for node in pair)
        if one is other:
            return
        if found := check(one, other):
            self.barriers.append(Barrier(pair, *found))
            return
        if len(one) < len(other):
            one, other = other, one
        one.extend(other)
        self.groups.update(dict.fromkeys(other, one))

    def barrier(self, one: list[Node], other: list[Node]) -> _Found[Node] | None:
        """What keeps the two groups apart."""
        if found := self.refusal(one, other):
            return found
        if len(one) == len(other) == 1:
            return None  # what the two say of each other has been weighed
        return next((f for fact in _FACTS if (f := self._difference(one, other, *fact))), None)

    def refusal(self, one: list[Node], other: list[Node]) -> _Found[Node] | None:
        """Two records of which a person said that they are not one."""
        if self._refused:
            for x in one:
                for y in other:
                    if (x, y) in self._refused or (y, x) in self._refused:
                        return (x, y), REFUSED
        return None

    def _difference(
        self,
        one: list[Node],
        other: list[Node],
        known: Callable[[Facts], bool],
        alike: Callable[[Facts, Facts], bool | None],
        words: Callable[[Facts, Facts], str],
    ) -> _Found[Node] | None:
        """The first two records that say different things, if no two say the same.

        What may be either, as an initial may, says neither: it would lead from Alice to Adam.
        """
        first: Pair[Node] | None = None
        says = [y for y in other if known(self._facts[y])]
        for x in one if says else ():
            if not known(self._facts[x]):
                continue
            for y in says:
                same = alike(self._facts[x], self._facts[y])
                if same or (same is False and self._are_linked(x, y)):
                    return None
                first = first or ((x, y) if same is False else None)
        return first and (first, words(*(self._facts[node] for node in first)))

    def _are_linked(self, x: Node, y: Node) -> bool:
        return (x, y) in self._links or (y, x) in self._links


#: Two records and why they cannot be one.
_Found = tuple[Pair[Node], str]


def _same_birth(one: Facts, other: Facts) -> bool:
    from rapidfuzz.distance import DamerauLevenshtein

    return any(DamerauLevenshtein.distance(a, b) <= 2 for a in one.births for b in other.births)


def _registers(facts: Facts) -> set[str]:
    return {id.partition("=")[0] for id in facts.ids}


def _same_ids(one: Facts, other: Facts) -> bool:
    from rapidfuzz.distance import DamerauLevenshtein

    if not _registers(one) & _registers(other):
        return True
    return any(
        a == b or (min(map(len, (a, b))) >= 8 and DamerauLevenshtein.distance(a, b) <= 1)
        for a in map(_number, one.ids)
        for b in map(_number, other.ids)
    )


def alike(one: str, other: str) -> bool | None:
    """Whether two given names may be one, mistyped; unknown where one is cut short."""
    from rapidfuzz.distance import JaroWinkler

    if one != other and (one.startswith(other) or other.startswith(one)):
        return None
    return bool(JaroWinkler.similarity(one, other) >= 0.8)


def _same_given(one: Facts, other: Facts) -> bool | None:
    assert one.given
    assert other.given
    exchanged = one.given == other.family or other.given == one.family
    return exchanged or alike(one.given, other.given)


def day(birth: str) -> str:
    """A birth date as people read it."""
    return f"{birth[:4]}-{birth[4:6]}-{birth[6:]}"


_FACTS = (
    (
        lambda facts: bool(facts.ids),
        _same_ids,
        lambda a, b: f"their numbers differ: {_number(a.ids[0])}, {_number(b.ids[0])}",
    ),
    (
        lambda facts: bool(facts.births),
        _same_birth,
        lambda a, b: f"birth dates differ: {day(a.births[0])}, {day(b.births[0])}",
    ),
    (
        lambda facts: bool(facts.given),
        _same_given,
        lambda a, b: f"given names differ: {str(a.given).title()}, {str(b.given).title()}",
    ),
)


def _number(id: str) -> str:
    return id.partition("=")[2]
