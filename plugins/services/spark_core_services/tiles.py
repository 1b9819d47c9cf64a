"""The tiles: every service, how it is, and whether it was restarted behind our back."""

from __future__ import annotations

import asyncio
from datetime import datetime

from pydantic import BaseModel, Field

from .catalog import Kind, Service, ServiceCatalog
from .observing import Observation, Observer, ServiceState
from .sightings import Sightings

__all__ = ["list_services"]


class Tile(BaseModel, defer_build=True):
    """One service, as it is now."""

    name: str
    title: str
    kind: Kind
    state: ServiceState
    detail: str
    since: datetime | None = Field(description="When it was started last.")
    restarts: int = Field(description="How often it was seen restarted by somebody else.")
    restarted_at: datetime | None = Field(description="When that was seen last.")
    actions: list[str] = Field(description="What can be done with it.")


class Tiles(BaseModel, defer_build=True):
    """Every service, and what is wrong with the files that name them."""

    services: list[Tile]
    warnings: list[str]


async def list_services(catalog: ServiceCatalog, observer: Observer, sightings: Sightings) -> Tiles:
    """List the services around the models, and how each of them is."""
    services = [*catalog.services.values()]
    looked_at = sightings.now()
    seen = await asyncio.gather(*(observer.look(service) for service in services))
    identities = {
        service.name: observation.identity
        for service, observation in zip(services, seen, strict=True)
        if observation.identity is not None
    }
    noted = await sightings.note(identities, looked_at)
    tiles = [
        _tile(service, observation, *noted.get(service.name, (0, None)))
        for service, observation in zip(services, seen, strict=True)
    ]
    return Tiles(services=tiles, warnings=list(catalog.warnings))


def _tile(
    service: Service, seen: Observation, restarts: int, restarted_at: datetime | None
) -> Tile:
    return Tile(
        name=service.name,
        title=service.shown_title,
        kind=service.kind,
        state=seen.state,
        detail=seen.detail,
        since=seen.since,
        restarts=restarts,
        restarted_at=restarted_at,
        actions=list(_actions(service)),
    )


def _actions(service: Service) -> tuple[str, ...]:
    """What can be done with *service*."""
    if service.kind not in ("docker", "systemd"):
        return ()
    more = {"update": bool(service.update), "patch": service.patches is not None}
    return ("start", "stop", "restart", "logs", *(name for name, there in more.items() if there))


def render_tiles(tiles: Tiles) -> str:
    """A line per service, for a terminal."""
    lines = [f"warning: {warning}" for warning in tiles.warnings]
    width = max((len(tile.name) for tile in tiles.services), default=0)
    for tile in tiles.services:
        again = f"  restarted {tile.restarts} times" if tile.restarts else ""
        lines.append(f"{tile.name:<{width}}  {tile.state:<11}  {tile.detail}{again}")
    return "\n".join(lines) or "no service is named in services.yaml"
