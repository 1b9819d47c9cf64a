"""Reciprocal rank fusion: one order from the dense and the sparse one.

Done here rather than by the engines, so that both agree to the last tie and every hit can say
which rank each leg gave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .engine import Found

__all__ = ["PREFETCH", "RRF_K", "Leg", "Ranked", "fuse", "prefetch_for", "shown"]

#: The constant of Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet
#: and individual Rank Learning Methods" (SIGIR 2009).
RRF_K = 60

#: How many points each leg contributes at the least.
PREFETCH = 100

#: The ids a leg found and their scores, best first.
Leg = Sequence[tuple[str, float]]


@dataclass(slots=True)
class Ranked:
    """A point's place in each leg, counted from 1, and its score over both."""

    id: str
    score: float = 0.0
    dense_rank: int | None = None
    sparse_rank: int | None = None


def prefetch_for(limit: int, grouped: bool) -> int:
    """How many points each leg must contribute to fill *limit* places."""
    return max(PREFETCH, limit * 5 if grouped else limit)


def fuse(dense: Leg | None, sparse: Leg | None) -> list[Ranked]:
    """All points of both legs, best first; of one leg alone, with that leg's own scores.

    Points that a leg scores alike are ranked by id, so that the order never depends on how
    the points lie in memory.
    """
    ranked: dict[str, Ranked] = {}
    for name, leg in (("dense_rank", dense), ("sparse_rank", sparse)):
        for rank, (id, score) in enumerate(_ordered(leg or ()), start=1):
            point = ranked.setdefault(id, Ranked(id))
            setattr(point, name, rank)
            both = dense is not None and sparse is not None
            point.score += 1 / (RRF_K + rank) if both else score
    return sorted(ranked.values(), key=lambda point: (-point.score, point.id))


def shown(
    ranked: Sequence[Ranked],
    payloads: Mapping[str, dict[str, Any]],
    groups: set[Any],
    group_by: str | None,
) -> Iterator[Found]:
    """The hits to show of *ranked*: those of groups not yet in *groups*, which is added to.

    A point without a payload was deleted between being found and being read.
    """
    for point in ranked:
        payload = payloads.get(point.id)
        if payload is None:
            continue
        group = payload.get(group_by) if group_by else None
        if group is None or group not in groups:
            groups.add(group)
            yield point.id, point.score, payload, point.dense_rank, point.sparse_rank


def _ordered(leg: Leg) -> list[tuple[str, float]]:
    return sorted(leg, key=lambda found: (-found[1], found[0]))
