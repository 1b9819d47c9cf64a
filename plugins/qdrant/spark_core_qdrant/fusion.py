"""Reciprocal rank fusion: one order from the dense and the sparse one.

Done here rather than by the engines, so that both agree to the last tie and every hit can say
which rank each leg gave it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .engine import Found, Place

__all__ = [
    "PREFETCH",
    "RRF_K",
    "TIED",
    "Leg",
    "Ranked",
    "firsts",
    "fuse",
    "group_of",
    "growing",
    "is_cut",
    "is_enough",
    "prefetches",
    "shown",
]

#: The constant of Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet
#: and individual Rank Learning Methods" (SIGIR 2009).
RRF_K = 60

#: How many points each leg contributes at the least.
PREFETCH = 100

#: How many more it is asked for where it would be cut among points of one score, of which an
#: engine picks any. Of a score that even more points have, those that come are the engine's
#: choice: looking at all of them would cost as much as there are.
TIED = 2_000

#: How many steps there are from one score to the next whole one; scores of one step count as
#: alike, because engines add up in different orders.
STEPS = 1e5

#: The ids a leg found and their scores, best first. An id is whatever its engine hands out
#: quickly: text or a number, as long as it sorts like the UUID it stands for.
Leg = Sequence[tuple[Any, float]]


@dataclass(slots=True)
class Ranked:
    """A point's score over both legs, and its place in each."""

    id: Any
    score: float
    dense: Place
    sparse: Place


def prefetches(limit: int, grouped: bool) -> tuple[int, ...]:
    """How many points each leg contributes to fill *limit* places, one try after another.

    A group may have thousands of points, one long note for instance, and leave no place for
    the others: then the legs go on further down.
    """
    first = max(PREFETCH, limit * 5 if grouped else limit)
    return (first, first * 10, first * 100) if grouped else (first,)


def is_enough(found: Sequence[Ranked], limit: int, legs: Iterable[Leg | None], asked: int) -> bool:
    """Whether *found* fills *limit* places, or no leg of *asked* points has more to give."""
    return len(found) >= limit or all(len(leg or ()) < asked for leg in legs)


def is_cut(leg: Leg, limit: int) -> bool:
    """Whether *leg* goes on behind its place *limit* with points of that place's score."""
    return len(leg) > limit and _step(leg[limit - 1]) == _step(leg[limit])


def fuse(dense: Leg | None, sparse: Leg | None, limit: int) -> list[Ranked]:
    """*limit* points of each leg, best first; of one leg alone, with that leg's own scores.

    The order never depends on how the points lie in memory: points that a leg scores alike are
    ranked by id, and of points that come out alike the one that the dense leg has first is
    first. Two that the legs put in opposite places always come out alike, so this is no rare
    case (``docs/explanation/quality.md``).
    """
    dense, sparse = _ordered(dense, limit), _ordered(sparse, limit)
    dense_places, sparse_places = _places(dense), _places(sparse)
    if dense is None or sparse is None:
        scores = dict(dense or sparse or ())
        best_first = list(scores)
    else:
        scores = _joined(dense_places, sparse_places)
        best_first = sorted(scores, key=scores.__getitem__, reverse=True)  # stable: dense first
    return [
        Ranked(id, scores[id], dense_places.get(id), sparse_places.get(id)) for id in best_first
    ]


def _ordered(leg: Leg | None, limit: int) -> Leg | None:
    return None if leg is None else sorted(sorted(leg), key=_step, reverse=True)[:limit]


def _step(found: tuple[Any, float]) -> int:
    return int(found[1] * STEPS + 0.5)  # the score, rounded; round() itself is slow


def _places(leg: Leg | None) -> dict[Any, tuple[int, float]]:
    return {id: (rank, score) for rank, (id, score) in enumerate(leg or (), start=1)}


def _joined(*legs: Mapping[Any, tuple[int, float]]) -> dict[Any, float]:
    scores: dict[Any, float] = {}
    for places in legs:
        for id, (rank, _) in places.items():
            scores[id] = scores.get(id, 0.0) + 1 / (RRF_K + rank)
    return scores


def growing(ranked: Sequence[Ranked], size: int) -> Iterator[Sequence[Ranked]]:
    """*ranked* in parts, the first of *size* and each twice as long as the one before."""
    start = 0
    while start < len(ranked):
        yield ranked[start : start + size]
        start, size = start + size, size * 2


def group_of(payload: Mapping[str, Any] | None, group_by: str) -> Any:
    """The group of a point with *payload*, as a set can hold it; ``None`` is one of its own."""
    value = (payload or {}).get(group_by)
    return json.dumps(value) if isinstance(value, list | dict) else value


def firsts(ranked: Iterable[Ranked], groups: Mapping[Any, Any], seen: set[Any]) -> Iterator[Ranked]:
    """Those of *ranked* whose groups are not yet in *seen*, which is added to.

    A point without an entry in *groups* was deleted between being found and being read.
    """
    for point in ranked:
        if point.id in groups and ((group := groups[point.id]) is None or group not in seen):
            seen.add(group)
            yield point


def shown(ranked: Iterable[Ranked], payloads: Mapping[str, dict[str, Any]]) -> Iterator[Found]:
    """The hits to show of *ranked*: those with a payload, the others have been deleted."""
    for point in ranked:
        if (payload := payloads.get(point.id)) is not None:
            yield point.id, point.score, payload, point.dense, point.sparse
