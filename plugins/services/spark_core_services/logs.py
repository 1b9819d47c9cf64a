"""What services write."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from pydantic import BaseModel, Field

from spark_core.errors import TimedOut

from .actions import refuse_unless_controlled
from .catalog import BRIDGE, Service, ServiceCatalog
from .observing import Observer

__all__ = ["bridge_logs", "service_logs"]

#: Seconds that a log may take to be read, and that it is followed at most.
READ_S: Final = 30.0
FOLLOW_S: Final = 3600.0

#: The longest line that is told, in characters.
LONGEST: Final = 4096


class Tail(BaseModel, defer_build=True):
    """Which part of a log."""

    lines: int = Field(default=200, ge=1, le=5000, description="How many of the last lines.")
    follow: bool = Field(default=False, description="Whether to go on with those that come.")


class ServiceLog(Tail, defer_build=True):
    """Which part of which log."""

    name: str


class Lines(BaseModel, defer_build=True):
    """Lines of a log: the last ones together, and then each that comes."""

    lines: list[str]


Log = AsyncGenerator[Lines, None]


def render_lines(lines: Lines) -> str:
    """The lines themselves."""
    return "\n".join(lines.lines)


def service_logs(request: ServiceLog, catalog: ServiceCatalog, observer: Observer) -> Log:
    """Tell the last lines of a service's log, and on demand those that come."""
    return _lines(catalog.find(request.name), request, observer)


def bridge_logs(request: Tail, catalog: ServiceCatalog, observer: Observer) -> Log:
    """Tell the last lines of the Matrix bridge's log, and on demand those that come."""
    return _lines(catalog.find(BRIDGE), request, observer)


async def _lines(service: Service, tail: Tail, observer: Observer) -> Log:
    refuse_unless_controlled(service)
    machines, machine = observer.where(service)
    command, limit = _command(service, tail), FOLLOW_S if tail.follow else READ_S
    last: deque[str] = deque(maxlen=tail.lines)
    try:
        async with aclosing(machines.follow(machine, command, timeout_s=limit)) as lines:
            async for line in lines:
                last.append(line[:LONGEST])
                if tail.follow:
                    yield Lines(lines=[last.pop()])
    except TimedOut:
        if not tail.follow:
            raise
    if not tail.follow:
        yield Lines(lines=[*last])


def _command(service: Service, tail: Tail) -> tuple[str, ...]:
    if service.kind == "docker":
        follow = ("--follow",) if tail.follow else ()
        return ("docker", "logs", f"--tail={tail.lines}", *follow, service.container_name)
    asked = ("--user",) if service.user_unit else ()
    follow = ("--follow",) if tail.follow else ()
    unit = (f"--unit={service.unit_name}", f"--lines={tail.lines}")
    return ("journalctl", *asked, *unit, "--no-pager", "--output=cat", *follow)
