"""What an operation that is run by the scheduler can find out about its run."""

from __future__ import annotations

from contextvars import ContextVar

from spark_core.state import Lease

from .book import Run

__all__ = ["Current", "current"]


class Current:
    """A run, and the lease under which it goes on.

    ``run.key`` is the same whenever this fire time is tried again. An operation that writes to
    the state checks ``lease`` in its transaction (:meth:`spark_core.state.Leases.check`): then
    nothing is written by a run that another scheduler has taken over.
    """

    def __init__(self, run: Run, lease: Lease) -> None:
        self.run = run
        self.lease = lease


#: The run that the calling task is part of; None outside of the scheduler.
current: ContextVar[Current | None] = ContextVar("spark_core_scheduler.current", default=None)
