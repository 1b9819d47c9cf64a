"""Whether texts are still about as long as they were when the index was built.

BM25 bakes their average length into every point, so it holds for a whole build. Where the texts
of today are much longer or shorter, long texts rank too low or short ones do.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_core.contracts.vectors import CollectionInfo

from .ledger import Ledger

__all__ = ["Drift", "drift_of"]

#: By which factor the average may change, either way.
TOLERATED = 1.5

#: An index of fewer pieces is rebuilt without being asked for: it takes moments.
SMALL = 1000


@dataclass(frozen=True)
class Drift:
    """An average length, in tokens, that is not what it was, in an index of *points*."""

    built: float
    now: float
    points: int

    @property
    def is_cheap(self) -> bool:
        """Whether to build the index anew without asking."""
        return self.points < SMALL

    def __str__(self) -> str:
        return (
            f"the average length of texts went from {self.built:.1f} to {self.now:.1f} words since "
            "the index was built, so search by words ranks them badly; "
            "build it anew: spark ingest backfill --recreate"
        )


async def drift_of(found: CollectionInfo, ledger: Ledger) -> Drift | None:
    """How far the texts of a collection are from its average, if too far."""
    pieces, tokens = await ledger.lengths(found.generation)
    built = found.spec.average_length
    now = max(1.0, tokens / pieces) if pieces else built
    return Drift(built, now, found.points) if max(now / built, built / now) > TOLERATED else None
