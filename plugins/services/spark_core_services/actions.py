"""Starting, stopping, restarting and updating a service."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel

from spark_core.errors import Conflict

from .catalog import BRIDGE, Service, ServiceCatalog
from .observing import systemctl
from .steps import Steps, Work, Workshop

__all__ = [
    "restart_service",
    "start_service",
    "stop_service",
    "update_bridge",
    "update_service",
]

Action = Literal["start", "stop", "restart"]

#: Seconds that Docker or systemd may take to start or stop something. Both wait for programs that
#: do not end: systemd as long as 90 s, by default, and again for the start.
CONTROL_S: Final = 240.0


class ServiceName(BaseModel, defer_build=True):
    """Which service."""

    name: str


def start_service(request: ServiceName, catalog: ServiceCatalog, workshop: Workshop) -> Steps:
    """Start a service, and wait until it is well."""
    return _controlled("start", catalog.find(request.name), workshop)


def stop_service(request: ServiceName, catalog: ServiceCatalog, workshop: Workshop) -> Steps:
    """Stop a service."""
    return _controlled("stop", catalog.find(request.name), workshop)


def restart_service(request: ServiceName, catalog: ServiceCatalog, workshop: Workshop) -> Steps:
    """Restart a service, and wait until it is well."""
    return _controlled("restart", catalog.find(request.name), workshop)


def _controlled(action: Action, service: Service, workshop: Workshop) -> Steps:
    refuse_unless_controlled(service)

    async def steps(work: Work) -> Steps:
        async for step in work.command(action, *control(service, action), within_s=CONTROL_S):
            yield step
        if action != "stop":
            async for step in work.health():
                yield step

    return workshop.do(service, steps)


def refuse_unless_controlled(service: Service) -> None:
    """Nothing can be done to what is only watched at its address.

    :raises Conflict: *service* is such a one.
    """
    if service.kind not in ("docker", "systemd"):
        raise Conflict(f"{service.name} is only watched: nothing can be done to it from here")


def control(service: Service, action: Action) -> tuple[str, ...]:
    """The command that does *action*; what it needs the user has, or it fails: never sudo."""
    if service.kind == "docker":
        return ("docker", action, service.container_name)
    return (*systemctl(service), action, service.unit_name)


def update_service(request: ServiceName, catalog: ServiceCatalog, workshop: Workshop) -> Steps:
    """Run the phases of a service's update one after another, and wait until it is well.

    A phase that fails ends it. So do 25 minutes.
    """
    return _updated(catalog.find(request.name), workshop)


def update_bridge(catalog: ServiceCatalog, workshop: Workshop) -> Steps:
    """Update the Matrix bridge."""
    return _updated(catalog.find(BRIDGE), workshop)


def _updated(service: Service, workshop: Workshop) -> Steps:
    refuse_unless_controlled(service)
    if not service.update:
        raise Conflict(
            f"nothing says how {service.name} is updated",
            hint="name the commands: update in services.yaml",
        )

    async def steps(work: Work) -> Steps:
        for phase, command in service.update.items():
            async for step in work.command(phase, *command):
                yield step
        async for step in work.health():
            yield step

    return workshop.do(service, steps)
