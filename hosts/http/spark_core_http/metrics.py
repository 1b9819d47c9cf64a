"""Metrics for Prometheus, over all workers.

What is counted lies in files that the workers share, if ``PROMETHEUS_MULTIPROC_DIR`` names a
directory before this module is imported (``spark serve`` sees to it); what goes on just now
is read from the gateway's own shared table.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.values import MultiProcessValue

from spark_core.gateway.admission import PoolState
from spark_core.gateway.health import State

__all__ = ["CONTENT_TYPE", "Meter", "meter", "text"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

#: In seconds. A gateway adds well under a thousandth; a long prompt takes minutes to answer.
_ADDED: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_WAITED: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600)

if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    # Asking the system for the process at each number that is counted took a tenth of a request.
    _process = cache(os.getpid)
    os.register_at_fork(after_in_child=_process.cache_clear)
    values.ValueClass = MultiProcessValue(_process)  # type: ignore[no-untyped-call]

_REGISTRY = CollectorRegistry()
_REQUESTS = Counter(
    "spark_requests",
    "Requests that were relayed, by what came of them.",
    ["relay", "backend", "outcome"],
    registry=_REGISTRY,
)
_FIRST_BYTE = Histogram(
    "spark_first_byte_seconds",
    "From a request's going to a backend to the head of the answer.",
    ["relay", "backend"],
    buckets=_WAITED,
    registry=_REGISTRY,
)
_QUEUED = Histogram(
    "spark_queued_seconds",
    "How long requests waited for their turn.",
    ["backend"],
    buckets=_WAITED,
    registry=_REGISTRY,
)
_OVERHEAD = Histogram(
    "spark_added_seconds",
    "What the gateway itself added before the first byte.",
    ["relay"],
    buckets=_ADDED,
    registry=_REGISTRY,
)


_TASKS = Gauge(
    "spark_tasks",
    "Tasks of a worker, when its metrics were last asked of it.",
    multiprocess_mode="liveall",
    registry=_REGISTRY,
)


class Meter:
    """The metrics of one relay to one backend."""

    __slots__ = ("_added", "_backend", "_first", "_outcomes", "_queued", "_relay")

    def __init__(self, relay: str, backend: str) -> None:
        self._relay = relay
        self._backend = backend
        self._first = _FIRST_BYTE.labels(relay, backend)
        self._queued = _QUEUED.labels(backend)
        self._added = _OVERHEAD.labels(relay)
        self._outcomes: dict[str, Counter] = {}

    def count(self, outcome: str) -> None:
        """One more request came to this *outcome*: a status such as ``200``, or a word."""
        child = self._outcomes.get(outcome)
        if child is None:
            child = _REQUESTS.labels(self._relay, self._backend, outcome)
            self._outcomes[outcome] = child
        child.inc()

    def answered(self, queued_s: float, asked_s: float, added_s: float) -> None:
        """The head of an answer came."""
        self._first.observe(asked_s)
        self._added.observe(added_s)
        if queued_s:
            self._queued.observe(queued_s)


@cache
def meter(relay: str, backend: str) -> Meter:
    """The meter of *relay* to *backend*; there are few of them."""
    return Meter(relay, backend)


class _Now(Collector):
    """What goes on just now."""

    def __init__(self, pools: Iterable[PoolState], states: dict[str, State]) -> None:
        self._pools = list(pools)
        self._states = states

    def collect(self) -> Iterator[Metric]:
        for name, text, value in (
            ("spark_in_flight", "Requests that backends work on.", "in_flight"),
            ("spark_waiting", "Requests that wait for their turn.", "waiting"),
            ("spark_limit", "Requests that may be in flight.", "limit"),
        ):
            family = GaugeMetricFamily(name, text, labels=["pool"])
            for pool in self._pools:
                family.add_metric([pool.name], getattr(pool, value))
            yield family
        yield from self._doors()
        family = GaugeMetricFamily(
            "spark_backend_state",
            "1 for the state that a backend is in.",
            labels=["backend", "state"],
        )
        for name, state in self._states.items():
            family.add_metric([name, state], 1)
        yield family

    def _doors(self) -> Iterator[Metric]:
        """Which doors are closed, and what came of the requests that met a closed one."""
        closed = GaugeMetricFamily(
            "spark_door_closed", "1 where nobody is let in just now.", labels=["pool"]
        )
        met = CounterMetricFamily(
            "spark_door_requests",
            "Requests that met a closed door, by what came of them.",
            labels=["pool", "outcome"],
        )
        for pool in self._pools:
            closed.add_metric([pool.name], pool.closed)
            for outcome in ("queued", "refused", "aborted"):
                met.add_metric([pool.name, outcome], getattr(pool.door, outcome))
        yield closed
        yield met


def text(pools: Iterable[PoolState], states: dict[str, State]) -> bytes:
    """Everything, as Prometheus reads it."""
    _TASKS.set(len(asyncio.all_tasks()))
    registry = CollectorRegistry()
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        counted = generate_latest(registry)
    else:
        counted = generate_latest(_REGISTRY)
    now = CollectorRegistry()
    now.register(_Now(pools, states))
    return counted + generate_latest(now)
