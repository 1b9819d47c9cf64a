"""How a service is: what Docker, systemd or its own address say, asked now and never with sudo."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from spark_core.contracts.machines import Completed, Machines
from spark_core.errors import BackendError, NotConfigured, SparkError, TimedOut, Unavailable

from .catalog import Service

__all__ = ["Observation", "Observer", "ServiceState", "open_observer", "systemctl"]

#: ``busy`` takes connections and does not answer; ``unreachable`` is its machine; ``absent`` is
#: what nobody has made.
ServiceState = Literal[
    "running",
    "starting",
    "unhealthy",
    "busy",
    "stopped",
    "failed",
    "absent",
    "down",
    "unreachable",
    "unknown",
]

#: Seconds that one look may take.
LOOK_S: Final = 10.0

_FORMAT: Final = "{{.Id}} {{json .State}}"

_DOCKER: Final[dict[str, ServiceState]] = {
    "running": "running",
    "restarting": "failed",  # it ends again and again
    "created": "stopped",
    "paused": "stopped",
    "exited": "stopped",
    "removing": "stopped",
    "dead": "failed",
}
_HEALTH: Final[dict[str, ServiceState]] = {"starting": "starting", "unhealthy": "unhealthy"}

_SYSTEMD: Final[dict[str, ServiceState]] = {
    "active": "running",
    "reloading": "running",
    "activating": "starting",
    "deactivating": "stopped",
    "inactive": "stopped",
    "failed": "failed",
}
_PROPERTIES: Final = "LoadState,ActiveState,SubState,InvocationID,ActiveEnterTimestamp"


@dataclass(frozen=True)
class Observation:
    """How a service is. ``identity`` is another one after each of its starts."""

    state: ServiceState
    detail: str = ""
    identity: str | None = None
    since: datetime | None = None


class Observer:
    """Looks at services."""

    def __init__(self, machines: Machines | None) -> None:
        self._machines = machines

    async def look(self, service: Service) -> Observation:
        """How *service* is just now; why nobody knows, where nobody does."""
        try:
            async with asyncio.timeout(2 * LOOK_S):
                return await self._look(service)
        except TimeoutError:
            return Observation("unreachable", "it took too long to look")
        except NotConfigured as error:
            return Observation("unknown", str(error))
        except Unavailable as error:
            return Observation("unreachable", str(error))
        except SparkError as error:
            return Observation("unknown", str(error))

    async def _look(self, service: Service) -> Observation:
        if service.kind == "docker":
            seen = await self._docker(service)
        elif service.kind == "systemd":
            seen = await self._systemd(service)
        else:
            return await _answers(service)
        if seen.state == "running" and service.url is not None:
            own = await _answers(service)
            if own.state != "running":
                return replace(seen, state="unhealthy", detail=own.detail)
        return seen

    async def run(self, service: Service, command: Iterable[str]) -> Completed:
        """Run *command*, which is quick, where *service* is."""
        machines, machine = self.where(service)
        return await machines.run(machine, [*command], timeout_s=LOOK_S)

    def where(self, service: Service) -> tuple[Machines, str]:
        """The machines, and the name of that which *service* is on.

        :raises NotConfigured: there are none.
        """
        if self._machines is None or not self._machines.all:
            raise NotConfigured("no machines are configured, so nobody can look there")
        return self._machines, service.machine or self._machines.all[0].name

    async def _docker(self, service: Service) -> Observation:
        command = ("docker", "inspect", "--type", "container", "--format", _FORMAT)
        done = await self.run(service, (*command, service.container_name))
        if done.exit_code:
            if "no such" in done.stderr.lower():
                return Observation("absent", f"there is no container {service.container_name}")
            raise BackendError(f"docker: {_last_line(done.stderr)}")
        try:
            id, _, told = done.stdout.strip().partition(" ")
            said = json.loads(told)
            status, started, code = said["Status"], said["StartedAt"], said["ExitCode"]
        except (ValueError, LookupError, TypeError):
            raise BackendError("docker said something else than it was asked") from None
        state = _DOCKER.get(status, "unknown")
        detail = f"exited with code {code}" if status == "exited" else str(status)
        if state == "running" and (health := (said.get("Health") or {}).get("Status")):
            state, detail = _HEALTH.get(health, state), health
        return Observation(state, detail, f"{id} {started}", _moment(started))

    async def _systemd(self, service: Service) -> Observation:
        command = (*systemctl(service), "show", service.unit_name, "--timestamp=unix")
        done = await self.run(service, (*command, f"--property={_PROPERTIES}"))
        if done.exit_code:
            raise BackendError(f"systemctl: {_last_line(done.stderr)}")
        said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        if said.get("LoadState") == "not-found":
            return Observation("absent", f"there is no unit {service.unit_name}")
        state = _SYSTEMD.get(said.get("ActiveState", ""), "unknown")
        since = _moment(said.get("ActiveEnterTimestamp", ""))
        return Observation(state, said.get("SubState", ""), said.get("InvocationID") or None, since)


@asynccontextmanager
async def open_observer(machines: Machines | None) -> AsyncIterator[Observer]:
    """Whoever looks at services."""
    yield Observer(machines)


def systemctl(service: Service) -> tuple[str, ...]:
    """The program that talks to the manager of *service*'s unit."""
    asked = ("--user",) if service.user_unit else ()
    return ("systemctl", "--no-ask-password", *asked)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it did not say what is wrong"])[-1][:300]


def _moment(text: str) -> datetime | None:
    """A time as Docker or systemd write it; None where it never came."""
    with suppress(ValueError, OverflowError):
        moment = (
            datetime.fromtimestamp(int(text[1:])).astimezone()
            if text.startswith("@")
            else datetime.fromisoformat(text)
        )
        return moment if moment.year > 1 and moment.tzinfo else None
    return None


async def _answers(service: Service) -> Observation:
    """What the service says of itself at its own address."""
    assert service.url is not None
    if (urlsplit(service.url).hostname or "").endswith(".local"):
        return Observation(
            "unknown", ".local names are not asked: a look-up may take seconds; use the address"
        )
    try:
        return await _asked(service)
    except TimedOut:
        return Observation("busy", "it takes connections, but does not answer in time")
    except Unavailable as error:
        down = "cannot be reached" in error.message
        # vLLM's engine is dead then; others are only too busy to say how they are.
        refused: ServiceState = "failed" if service.kind == "vllm" else "busy"
        return Observation("down" if down else refused, error.message)
    except BackendError as error:
        return Observation("unhealthy", error.message)


async def _asked(service: Service) -> Observation:
    from spark_core.http_client import Retries, open_client, request_with_retries

    once = Retries(count=0)
    assert service.url is not None
    async with open_client(service.url, verify=service.verify_tls, timeout=LOOK_S / 2) as client:
        await request_with_retries(client, "GET", service.health_path, retries=once)
        if service.kind != "vllm":
            return Observation("running")
        listed = await request_with_retries(client, "GET", "/v1/models", retries=once)
        try:
            names = [str(model["id"]) for model in listed.json()["data"]]
        except (ValueError, LookupError, TypeError):
            return Observation("unhealthy", "its list of models cannot be read")
        return Observation("running", f"serves {', '.join(names) or 'no model'}")
