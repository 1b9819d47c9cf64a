"""Which voiceprints are of the same person: clustering by cosine similarity.

Groups are joined, the most similar first, as long as their mean voiceprints are similar enough
and they have no chunk in common: in one chunk the diarizer has told its speakers apart.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from operator import add, mul

__all__ = ["THRESHOLD", "Voice", "cluster", "unit"]

#: How similar two voiceprints of one person are, at least.
THRESHOLD = 0.4

#: So many groups are compared with each other at once; the time grows with its square.
BLOCK = 250


@dataclass(frozen=True)
class Voice:
    """A voiceprint of length 1, the chunk it was heard in, and for how many seconds."""

    key: Hashable
    chunk: int
    vector: Sequence[float]
    seconds: float


@dataclass
class Group:
    """Voices of one person; ``total`` is their sum, weighted by time."""

    voices: list[Voice]
    chunks: frozenset[int]
    total: Sequence[float]
    length: float = field(init=False)

    def __post_init__(self) -> None:
        self.length = math.hypot(*self.total)

    def similarity(self, other: Group) -> float:
        """The cosine of the two means; that of nothing is 0."""
        length = self.length * other.length
        return sum(map(mul, self.total, other.total)) / length if length else 0.0

    def joined(self, other: Group) -> Group:
        """Both as one."""
        total = list(map(add, self.total, other.total))
        return Group(self.voices + other.voices, self.chunks | other.chunks, total)


def unit(vector: Sequence[float | None]) -> list[float] | None:
    """*vector* with length 1; none if it has no direction: nothing but 0, or not all numbers."""
    numbers = [value for value in vector if value is not None and math.isfinite(value)]
    largest = max(map(abs, numbers), default=0.0)
    if len(numbers) < len(vector) or largest == 0:
        return None
    scaled = [value / largest for value in numbers]  # squares of what is tiny or huge are lost
    length = math.hypot(*scaled)
    return [value / length for value in scaled]


def cluster(voices: Sequence[Voice], threshold: float = THRESHOLD) -> list[list[Voice]]:
    """The groups of *voices* that are of one person each.

    Many are grouped block by block first, so that the time grows with their number alone.
    """
    groups = [_alone(voice) for voice in voices]
    while len(groups) > BLOCK:
        blocks = [groups[n : n + BLOCK] for n in range(0, len(groups), BLOCK)]
        fewer = [group for block in blocks for group in _grouped(block, threshold)]
        if len(fewer) > len(groups) * 0.8:
            groups = fewer
            break
        groups = fewer
    return [group.voices for group in _grouped(groups, threshold)]


def _alone(voice: Voice) -> Group:
    total = [value * voice.seconds for value in voice.vector]
    return Group([voice], frozenset((voice.chunk,)), total)


def _grouped(groups: Sequence[Group], threshold: float) -> list[Group]:
    """Join the most similar two until none are similar enough."""
    alive = dict(enumerate(groups))
    pairs: list[tuple[float, int, int]] = []
    for number, group in alive.items():
        pairs += _pairs(number, group, alive, threshold)
    heapq.heapify(pairs)
    latest = len(groups)
    while pairs:
        _, one, other = heapq.heappop(pairs)
        if one in alive and other in alive:
            group = alive.pop(other).joined(alive.pop(one))
            for pair in _pairs(latest, group, alive, threshold):
                heapq.heappush(pairs, pair)
            alive[latest] = group
            latest += 1
    return list(alive.values())


def _pairs(
    number: int, group: Group, others: dict[int, Group], threshold: float
) -> list[tuple[float, int, int]]:
    """*group* with each of *others* before it that may be the same person, the nearest least."""
    return [
        (-similarity, number, before)
        for before, other in others.items()
        if before < number
        and group.chunks.isdisjoint(other.chunks)
        and (similarity := group.similarity(other)) >= threshold
    ]
