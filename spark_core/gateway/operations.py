"""Looking at the gateway: which backends there are, how they are, and when they were away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Literal

from pydantic import BaseModel, Field

from ..containment import contained
from ..errors import SparkError
from ..operations import Progress
from ..plugins import Plugins
from ..references import resolved
from ..settings import Settings
from .admission import Priority
from .backends import Backend
from .demand import OnDemand
from .gateway import Gateway
from .health import State, state_of
from .opening import configured, is_disabled
from .outages import Outage, OutageLog
from .probing import is_local_name
from .settings import GatewaySettings

__all__ = [
    "connectivity",
    "deep_health",
    "health",
    "list_endpoints",
    "list_models",
    "render_endpoints",
    "states",
]

#: Seconds that one check of deep health may take.
CHECK_SECONDS = 60.0

#: Why a backend whose door is closed takes no requests.
CLOSED = "its model is being swapped"

#: From the best to the worst, for the whole of several.
_ORDER: tuple[State, ...] = ("disabled", "ok", "busy", "unknown", "degraded", "down")


class Endpoint(BaseModel, defer_build=True):
    """One backend."""

    name: str
    kind: str
    url: str
    state: State
    disabled: bool
    reason: str | None = Field(
        default=None, description="Why its state is not known, or it takes no requests."
    )


class Endpoints(BaseModel, defer_build=True):
    """Every backend that is configured."""

    endpoints: list[Endpoint]


async def list_endpoints(
    gateway: Gateway, plugins: Plugins, settings: Settings, own: GatewaySettings
) -> Endpoints:
    """List the backends that are configured, and how each of them is."""
    seen = states(gateway)
    closed = _closed(gateway)
    return Endpoints(
        endpoints=[
            Endpoint(
                name=backend.name,
                kind=backend.kind.name,
                url=backend.url,
                state=seen.get(backend.name, "disabled"),
                disabled=is_disabled(backend, own),
                reason=_reason(backend, backend.name in closed),
            )
            for backend in configured(plugins, settings)
        ]
    )


def _closed(gateway: Gateway) -> set[str]:
    """The pools that nobody is let into just now."""
    return {pool.name for pool in gateway.admission.states() if pool.closed}


def _reason(backend: Backend, is_closed: bool) -> str | None:
    if is_closed:
        return CLOSED
    if is_local_name(backend):
        return ".local names are not probed: each look-up may take seconds; use the address instead"
    return None


def states(gateway: Gateway) -> dict[str, State]:
    """How each backend is, as far as all processes saw."""
    now = time.time()
    pools = {pool.name: pool for pool in gateway.admission.states()}
    return {
        name: state_of(gateway.admission.sightings(name), pools[name], now)
        for name in gateway.backends
    }


class Component(BaseModel, defer_build=True):
    """One backend, and what it does just now."""

    state: State
    in_flight: int
    waiting: int
    limit: int
    reason: str | None = Field(default=None, description="Why it takes no requests.")


class Health(BaseModel, defer_build=True):
    """How everything is; ``status`` is the worst of all."""

    status: State
    components: dict[str, Component]


async def health(gateway: Gateway) -> Health:
    """Say how each backend is, from what was seen of it; nothing is asked now."""
    pools = {pool.name: pool for pool in gateway.admission.states()}
    components = {
        name: Component(
            state=state,
            in_flight=pools[name].in_flight,
            waiting=pools[name].waiting,
            limit=pools[name].limit,
            reason=CLOSED if pools[name].closed else None,
        )
        for name, state in states(gateway).items()
    }
    known = [c.state for name, c in components.items() if _tells(gateway.backends[name], c.state)]
    worst = max(known, key=_ORDER.index, default="ok")
    return Health(status=worst, components=components)


def _tells(backend: Backend, state: State) -> bool:
    """Whether *state* says anything: of one that is not probed nothing is known before its use."""
    return backend.kind.probed or state != "unknown"


class Finding(BaseModel, defer_build=True):
    """What came of one backend's check."""

    status: Literal["ok", "failed", "unchecked"]
    took_s: float
    detail: str


class DeepHealth(BaseModel, defer_build=True):
    """What came of all checks."""

    status: Literal["ok", "failed"]
    checks: dict[str, Finding]


async def deep_health(gateway: Gateway, progress: Progress) -> DeepHealth:
    """Let each backend do real work, one after the other: a token, a word, a vector."""
    checks: dict[str, Finding] = {}
    for name, backend in gateway.backends.items():
        progress.update(f"checking {name}", done=len(checks), total=len(gateway.backends))
        checks[name] = await _examine(gateway, backend)
    failed = any(finding.status == "failed" for finding in checks.values())
    return DeepHealth(status="failed" if failed else "ok", checks=checks)


async def _examine(gateway: Gateway, backend: Backend) -> Finding:
    """It waits for its turn as a batch request does, so that it takes nobody's place."""
    check = backend.kind.check
    if check is None:
        return Finding(status="unchecked", took_s=0.0, detail="this kind has no check")
    if backend.name in _closed(gateway):
        return Finding(status="unchecked", took_s=0.0, detail=CLOSED)
    began = time.monotonic()
    try:
        slot = await gateway.admission.admit(
            [backend.name], caller="deep health", priority=Priority.BATCH, wait_s=CHECK_SECONDS
        )
        with slot, contained(f"the check of {backend.name}"):
            detail = await resolved(check)(partial(_ask, gateway, backend), backend)
        status: Literal["ok", "failed"] = "ok"
    except SparkError as error:
        status, detail = "failed", str(error)
    except Exception as error:  # the check is a plugin's, and what it is handed a backend's
        status, detail = "failed", f"it answered something else ({type(error).__name__})"
    return Finding(status=status, took_s=round(time.monotonic() - began, 3), detail=detail)


async def _ask(
    gateway: Gateway, backend: Backend, path: str, body: bytes = b"", kind: str = "application/json"
) -> bytes:
    return await gateway.ask(backend, path, body=body, kind=kind, wait_s=CHECK_SECONDS)


class ConnectivityRequest(BaseModel, defer_build=True):
    """Which outages to list."""

    limit: int = Field(default=100, ge=1, le=1000)
    backend: str | None = Field(default=None, description="Of this backend only.")
    since: datetime | None = Field(default=None, description="Those that ended later, or not yet.")


class Connectivity(BaseModel, defer_build=True):
    """Outages, the newest first."""

    outages: list[Outage]


async def connectivity(
    request: ConnectivityRequest,
    outages: OutageLog,
    plugins: Plugins,
    settings: Settings,
    own: GatewaySettings,
) -> Connectivity:
    """List when backends took no connections."""
    disabled = [b.name for b in configured(plugins, settings) if is_disabled(b, own)]
    found = await outages.newest(
        limit=request.limit, backend=request.backend, since=request.since, without=disabled
    )
    return Connectivity(outages=list(found))


class Model(BaseModel, defer_build=True):
    """A model, as OpenAI's API lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str
    loaded: bool = Field(
        default=True, description="Whether it is served now; else asking for it has it loaded."
    )


class Models(BaseModel, defer_build=True):
    """Every model, as OpenAI's API lists them."""

    object: Literal["list"] = "list"
    data: list[Model]


async def list_models(gateway: Gateway, on_demand: OnDemand | None) -> Models:
    """List the models that are served, their other names, and what can be had on demand."""
    found: Mapping[str, Backend] = await gateway.all_models()
    served = [Model(id=name, owned_by=b.kind.name) for name, b in found.items()]
    more = await on_demand.models() if on_demand is not None else ()
    others = [Model(id=name, owned_by="catalog", loaded=False) for name in more]
    return Models(data=[*served, *(model for model in others if model.id not in found)])


def render_endpoints(found: Endpoints) -> str:
    """A line per backend, for a terminal."""
    width = max((len(e.name) for e in found.endpoints), default=0)
    lines = [f"{e.name:<{width}}  {e.state:<8}  {e.kind:<8}  {e.url}" for e in found.endpoints]
    return "\n".join(lines) or "no backend is configured"
