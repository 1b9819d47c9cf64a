"""Tells a model that loads slowly from one that will never be ready."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from ..contracts.model_hosts import HostState
from .memory import GIB
from .models import Failure

__all__ = ["Watch", "what_stays"]

#: Seconds that a launcher which is done may take until its container shows.
GRACE: Final = 20.0

#: Lines of the log that a failure quotes.
TAIL: Final = 40

#: What in a log says that it is over, and what it is called then.
_FATAL: Final = (
    ("disk-full", re.compile(r"No space left on device", re.IGNORECASE)),
    ("out-of-memory", re.compile(r"CUDA out of memory|OutOfMemoryError|NV_ERR_NO_MEMORY")),
    ("out-of-memory", re.compile(r"No available memory for the cache blocks")),
    ("engine-dead", re.compile(r"EngineDeadError|Engine core initialization failed")),
    ("no-such-model", re.compile(r"RepositoryNotFoundError|is not a valid model identifier")),
)


class Watch:
    """What is seen of one launch while it loads.

    What a log says alone is no verdict while the container still runs: it becomes the name of
    the failure when the container goes, restarts, or the time is up.
    """

    def __init__(self, launch: str, nodes: int, began: datetime) -> None:
        self._launch = launch
        self._nodes = nodes
        self._began = began
        self._ids: dict[str, str] = {}
        self._missing_since: datetime | None = None
        self._done_since: datetime | None = None
        self._restarts = 0
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._named: str | None = None
        self._lines = 0
        self._unseen: dict[str, str] = {}
        self._available: deque[int] = deque(maxlen=600)

    @property
    def is_seen(self) -> bool:
        """Whether its container was seen on some machine."""
        return bool(self._ids)

    def add_log(self, lines: Iterable[str]) -> None:
        """Heed *lines* of the launcher's log."""
        for line in lines:
            self._lines += 1
            self._tail.append(line[:500])
            for code, pattern in _FATAL:
                if self._named is None and pattern.search(line):
                    self._named = code

    def add_state(self, state: HostState, now: datetime) -> Failure | None:
        """Heed what the machines say; why it is over, if it is."""
        nodes = [*state.nodes.items()][: self._nodes]
        seen = {name: node for name, node in nodes if node.error is None}
        self._unseen = {name: node.error for name, node in nodes if node.error is not None}
        self._available.extend(node.memory_available for node in seen.values())
        running = {n: s.container for n, s in seen.items() if s.container is not None}
        for name, container in running.items():
            if self._ids.setdefault(name, container.id) != container.id or container.restarts:
                return self.failure("crash-loop", f"its container on {name} started again")
        if record := state.launch:
            failed = self._of_launcher(record.id, record.exit_code, bool(running), now)
            if failed:
                return failed
        if missing := [n for n in self._ids if n in seen and n not in running]:
            return self._gone(missing, [*running])
        if running and len(seen) == len(nodes) and len(running) < len(nodes):
            absent = ", ".join(set(seen) - set(running))
            if self._lasts(now):
                return self.failure("half-dead", f"it runs on some machines, not on {absent}")
        else:
            self._missing_since = None
        return None

    def _of_launcher(
        self, launch: str, code: int | None, runs: bool, now: datetime
    ) -> Failure | None:
        if launch != self._launch or code is None or runs:
            self._done_since = None
            return None
        if code != 0:
            return self.failure("launcher-failed", f"the launcher ended with exit code {code}")
        self._done_since = self._done_since or now
        if not self._ids and (now - self._done_since).total_seconds() > GRACE:
            return self.failure("nothing-started", "the launcher ended well, and started nothing")
        return None

    def _gone(self, missing: list[str], running: list[str]) -> Failure:
        where = ", ".join(missing)
        if running:
            return self.failure("half-dead", f"its container on {where} is gone, others run")
        return self.failure("crashed", f"its container on {where} is gone")

    def _lasts(self, now: datetime) -> bool:
        self._missing_since = self._missing_since or now
        return (now - self._missing_since).total_seconds() > GRACE

    def too_late(self, seconds: float) -> Failure:
        """It did not become ready within *seconds*."""
        return self.failure("not-ready", f"it was not ready within {seconds:.0f} s")

    def failure(self, code: str, message: str) -> Failure:
        """A failure with what was seen; the log may know a better name for it."""
        memory = [round(size / GIB, 1) for size in self._available]
        evidence: dict[str, Any] = {"log": [*self._tail], "log_lines": self._lines}
        if memory:
            evidence["available_gib"] = {
                "first": memory[0], "least": min(memory), "last": memory[-1],
            }  # fmt: skip
        if self._unseen:
            evidence["unseen"] = dict(self._unseen)
            message = f"{message}; {', '.join(self._unseen)} cannot be reached"
        if self._named:
            message = f"{message}; its log says {self._named.replace('-', ' ')}"
        return Failure(code=self._named or code, message=message, evidence=evidence)


def what_stays(state: HostState, reason: str, seconds: float) -> Failure:
    """What is still there *seconds* after it was stopped; *reason* is why that failed."""
    unseen = {n: s.error for n, s in state.nodes.items() if s.error}
    containers = {n: s.container.id for n, s in state.nodes.items() if s.container}
    ports = [n for n, s in state.nodes.items() if s.port_taken]
    code = (
        "unreachable"
        if unseen
        else "container-stays"
        if containers
        else "port-stays-busy"
        if ports
        else "not-stopped"
    )
    evidence = {"containers": containers, "ports_busy_on": ports, "unseen": unseen}
    where = ", ".join([*unseen] or [*containers] or ports or [*state.nodes])
    message = f"{code} on {where} after {seconds:g} s{reason and f': {reason}'}"
    return Failure(code=code, message=message, evidence=evidence)
