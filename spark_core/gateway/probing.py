"""The probe: connects to each backend a few times a second, and writes outages down.

It runs in one process by lease. Requests of any process that find no backend count, too: the
probe reads of them in the shared table.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from ..errors import SparkError
from .backends import Backend
from .gateway import Gateway
from .outages import OutageLog
from .table import Sighting, Sightings

__all__ = ["Probe", "is_local_name", "probe_backends"]

#: Seconds between two connections to one backend: shorter outages may be missed.
EVERY: Final = 0.2

#: Seconds that a connection may take: a machine on the same network answers in a few
#: thousandths, if it is there.
CONNECT: Final = 1.0

#: Seconds between two looks at a backend's own health check, and how long that may take.
HEALTH_EVERY: Final = 10.0
HEALTH_WAIT: Final = 5.0


def is_local_name(backend: Backend) -> bool:
    """Whether *backend* has a ``.local`` name: each look at one may take five seconds."""
    return (urlsplit(backend.url).hostname or "").endswith(".local")


async def probe_backends(gateway: Gateway, outages: OutageLog) -> None:
    """Watch every backend until cancelled."""
    started = await outages.going_on()
    async with asyncio.TaskGroup() as tasks:
        for backend in gateway.backends.values():
            if not is_local_name(backend):
                probe = Probe(gateway, backend, outages, started.get(backend.name))
                tasks.create_task(probe.run())
                tasks.create_task(probe.check_health())
        for name in started.keys() - gateway.backends.keys():
            await outages.end(name, datetime.now(UTC))  # nobody will see it come back


class Probe:
    """Watches one backend. ``down_since`` is when the outage began that goes on."""

    def __init__(
        self,
        gateway: Gateway,
        backend: Backend,
        outages: OutageLog,
        down_since: datetime | None = None,
        *,
        connect: Callable[[Backend], Awaitable[bool]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._backend = backend
        self._outages = outages
        self._connect = connect or takes_connections
        self._heeded = time.time()
        self.down_since = down_since

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Connect once, and write down what changed."""
        admission, name = self._gateway.admission, self._backend.name
        began = time.time()
        up = await self._connect(self._backend)
        failed = self._request_that_failed(admission.sightings(name))
        if failed is not None:
            await self._down(failed, "request")
        if up:
            admission.saw(name, Sighting.UP)
            await self._up(time.time())
        else:
            admission.saw(name, Sighting.DOWN)
            self._heeded = time.time()
            await self._down(began, "probe")

    def _request_that_failed(self, seen: Sightings) -> float | None:
        """When a request of some process found no backend, if that is news."""
        if seen.down <= self._heeded:
            return None
        self._heeded = seen.down
        return seen.down

    async def _down(self, when: float, seen_by: str) -> None:
        if self.down_since is None:
            self.down_since = datetime.fromtimestamp(when, UTC)
            await self._outages.begin(self._backend.name, self.down_since, seen_by)

    async def _up(self, when: float) -> None:
        if self.down_since is not None:
            self.down_since = None
            await self._outages.end(self._backend.name, datetime.fromtimestamp(when, UTC))

    async def check_health(self) -> None:
        """Ask the backend's own health check now and then."""
        while True:
            await self.look_at_health()
            await asyncio.sleep(HEALTH_EVERY)

    async def look_at_health(self) -> None:
        """Ask it once, and note what it said."""
        what = Sighting.WELL if await self._is_well() else Sighting.UNWELL
        self._gateway.admission.saw(self._backend.name, what)

    async def _is_well(self) -> bool:
        upstream = self._gateway.upstream(self._backend.name)
        path = self._backend.kind.health.encode()
        with suppress(SparkError):
            answer = await upstream.ask(b"GET", path, (), first_byte_s=HEALTH_WAIT)
            answer.close()
            return answer.status < 400
        return False


async def takes_connections(backend: Backend) -> bool:
    """Whether *backend* takes a connection; it is closed at once."""
    parts = urlsplit(backend.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT):
            _, writer = await asyncio.open_connection(
                parts.hostname, port, family=_family(parts.hostname or "")
            )
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _family(host: str) -> int:
    """IPv4, unless the address says otherwise: looking for both may take seconds."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
