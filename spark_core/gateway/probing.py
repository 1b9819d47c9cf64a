"""The probe: connects to each backend a few times a second, and writes outages down.

It runs in one process of a host, by a lock that the system gives to the next as soon as its
holder dies: with a lease, an outage would be over before somebody looked again. Requests of any
process that find no backend count, too: the probe reads of them in the shared table.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..errors import SparkError
from ..settings import DataDirectory
from .backends import Backend
from .gateway import Gateway
from .outages import OutageLog
from .table import Sighting, Sightings
from .upstream import HERE, Exhausted

__all__ = ["Probe", "is_local_name", "probe_backends"]

#: Seconds between two connections to one backend: shorter outages may be missed.
EVERY: Final = 0.2

#: Seconds that a connection may take: a machine on the same network answers in a few
#: thousandths, if it is there.
CONNECT: Final = 1.0

#: Seconds between two looks at a backend's own health check, and how long that may take.
HEALTH_EVERY: Final = 10.0
HEALTH_WAIT: Final = 5.0

#: Seconds back that a new probe believes what was seen before it: another one was there then.
BEFORE: Final = 10.0

#: Seconds until what failed is tried again, and the changes that wait to be written meanwhile.
AGAIN: Final = 5.0
BACKLOG: Final = 1000

log = logging.getLogger(__name__)


def is_local_name(backend: Backend) -> bool:
    """Whether *backend* has a ``.local`` name: each look at one may take five seconds."""
    return (urlsplit(backend.url).hostname or "").rstrip(".").endswith(".local")


async def probe_backends(gateway: Gateway, outages: OutageLog, data: DataDirectory) -> None:
    """Watch every backend until cancelled, when no other process of this host does."""
    async with _alone(data.made() / "gateway" / "probe"):
        started = await outages.going_on()
        async with asyncio.TaskGroup() as tasks:
            for backend in gateway.backends.values():
                if backend.kind.probed and not is_local_name(backend):
                    probe = Probe(gateway, backend, outages, started.get(backend.name))
                    tasks.create_task(probe.run())
            for name in started.keys() - gateway.backends.keys():
                await outages.end(name, datetime.now(UTC))  # nobody will see it come back


@asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    """Within the block, this process holds the lock at *path*, and waited until it could."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _locked(file):  # noqa: ASYNC110
            await asyncio.sleep(EVERY)  # the system tells nobody when it is free
        yield
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Probe:
    """Watches one backend. ``down_since`` is when the outage began that goes on."""

    def __init__(
        self,
        gateway: Gateway,
        backend: Backend,
        outages: OutageLog,
        down_since: datetime | None = None,
        *,
        connect: Callable[[Backend], Awaitable[bool | None]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._backend = backend
        self._outages = outages
        self._connect = connect or takes_connections
        self._heeded = max(gateway.admission.sightings(backend.name).up, time.time() - BEFORE)
        self._changes: deque[Callable[[], Awaitable[None]]] = deque()
        self._changed = asyncio.Event()
        self.down_since = down_since

    async def run(self) -> None:
        """Look again and again, and write down what changed; neither waits for the other."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._for_ever(self.look, EVERY))
            tasks.create_task(self._for_ever(self.look_at_health, HEALTH_EVERY))
            tasks.create_task(self._for_ever(self._write_next, 0))

    async def _for_ever(self, do: Callable[[], Awaitable[None]], every: float) -> None:
        """What fails is tried again, and ends nothing else."""
        while True:
            try:
                await do()
            except Exception as error:
                kind = type(error).__name__
                log.error("the probe of %s failed, and goes on (%s)", self._backend.name, kind)
                await asyncio.sleep(AGAIN)
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Connect once, and note what changed."""
        admission, name = self._gateway.admission, self._backend.name
        began = time.time()
        up = await self._connect(self._backend)
        if up is None:
            return
        closed_until = admission.door(name).closed_until
        failed = self._request_that_failed(admission.sightings(name))
        if failed is not None and failed > closed_until:
            self._down(failed, "request")
        if up:
            admission.saw(name, Sighting.UP)
            self._up(time.time())
        else:
            admission.saw(name, Sighting.DOWN)
            self._heeded = time.time()
            if began > closed_until:  # else it was taken away on purpose
                self._down(began, "probe")

    def _request_that_failed(self, seen: Sightings) -> float | None:
        """When a request of some process found no backend, if that is news."""
        if seen.down <= self._heeded:
            return None
        self._heeded = seen.down
        return seen.down

    def _down(self, when: float, seen_by: str) -> None:
        if self.down_since is None and len(self._changes) < BACKLOG:
            self.down_since = datetime.fromtimestamp(when, UTC)
            self._note(partial(self._outages.begin, self._backend.name, self.down_since, seen_by))

    def _up(self, when: float) -> None:
        if self.down_since is not None:
            self.down_since = None
            self._note(
                partial(self._outages.end, self._backend.name, datetime.fromtimestamp(when, UTC))
            )

    def _note(self, change: Callable[[], Awaitable[None]]) -> None:
        self._changes.append(change)
        self._changed.set()

    async def _write_next(self) -> None:
        await self._changed.wait()
        await self.write()

    async def write(self) -> None:
        """Write down what changed; what cannot be written now is kept for the next time."""
        while self._changes:
            await self._changes[0]()
            self._changes.popleft()
        self._changed.clear()

    async def look_at_health(self) -> None:
        """Ask the backend's own health check once, and note what it said."""
        try:
            what = Sighting.WELL if await self._is_well() else Sighting.UNWELL
        except Exhausted:
            return
        except SparkError:
            what = Sighting.UNWELL
        self._gateway.admission.saw(self._backend.name, what)

    async def _is_well(self) -> bool:
        backend = self._backend
        answer = await self._gateway.upstream(backend.name).ask(
            b"GET", backend.kind.health.encode(), backend.credentials, first_byte_s=HEALTH_WAIT
        )
        answer.close()
        return answer.status < 400


async def takes_connections(backend: Backend) -> bool | None:
    """Whether *backend* takes a connection, which is closed at once.

    None: this machine can open none just now, so nothing is known.
    """
    try:
        parts = urlsplit(backend.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        async with asyncio.timeout(CONNECT):
            _, writer = await asyncio.open_connection(
                parts.hostname, port, family=_family(parts.hostname or "")
            )
    except (OSError, ValueError) as error:  # TimeoutError is an OSError, a bad name a ValueError
        return None if getattr(error, "errno", None) in HERE else False
    writer.close()
    return True


def _family(host: str) -> int:
    """IPv4, unless the address says otherwise: looking for both may take seconds."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
