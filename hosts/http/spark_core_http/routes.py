"""Every route: those of the operations, those of the relays, and the host's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import falcon
from falcon.asgi import Request, Response
from pydantic import BaseModel

from spark_core import Effect, Operation, Relay, Spark
from spark_core.errors import PluginError
from spark_core.spark import check_request

from .events import EVENT_STREAM, EventStream, Feed, events
from .origins import refuse_cross_site
from .problems import log_failure
from .requests import JSON, header_fields, list_fields, read_fields
from .status import Status
from .tokens import Gate

__all__ = ["Endpoint", "Route", "make_routes", "resources"]

Responder = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Route:
    """A method and a path, who answers it, and whose it is, as errors name them."""

    method: str
    path: str
    respond: Responder
    owner: str
    summary: str


def make_routes(spark: Spark, max_body: int, gate: Gate | None = None) -> list[Route]:
    """Every route; those that *gate* guards ask who is there first.

    :raises PluginError: two of them have the same method and path.
    """
    status, gate = Status(spark), gate or Gate(None)
    operations = spark.plugins.operations()
    routes = [
        *_own(status),
        *(_of_operation(spark, operation, max_body, gate) for operation in operations),
        *(route for relay in spark.plugins.relays() for route in _of_relay(relay)),
    ]
    _check_unique(routes)
    status.routes = [(route.method, route.path, route.summary) for route in routes]
    return routes


def _own(status: Status) -> Iterable[Route]:
    for path, respond, summary in (
        ("/", status.index, "What there is."),
        ("/health", status.health, "Whether this process answers."),
        ("/ready", status.ready, "Whether what it needs is there."),
        ("/metrics", status.metrics, "Metrics of all workers, for Prometheus."),
        ("/openapi.json", status.openapi, "This API as an OpenAPI 3.1 document."),
    ):
        yield Route("GET", path, respond, "the HTTP host", summary)


def _of_operation(spark: Spark, operation: Operation, max_body: int, gate: Gate) -> Route:
    owner = f"operation {operation.name} of {spark.plugins.distribution_of(operation)}"
    respond = Endpoint(spark, operation, max_body, gate).respond
    return Route(operation.method, operation.path, respond, owner, operation.summary)


def _of_relay(relay: Relay) -> Iterable[Route]:
    """Relays are served before Falcon sees a request; these stand for their other methods."""

    async def refuse(req: Request, resp: Response) -> None:
        raise falcon.HTTPMethodNotAllowed([relay.method])

    for path in relay.paths:
        yield Route(relay.method, path, refuse, f"relay {relay.name}", relay.summary)


def _check_unique(routes: Iterable[Route]) -> None:
    seen: dict[tuple[str, str], Route] = {}
    for route in routes:
        first = seen.setdefault((route.method, route.path), route)
        if first is not route:
            raise PluginError(
                f"{route.method} {route.path} is wanted by {first.owner} and by {route.owner}",
                hint="switch one of the plugins off: [plugins.NAME] enabled = false",
            )


def resources(routes: Iterable[Route]) -> Mapping[str, SimpleNamespace]:
    """Falcon's resources, by path: what answers GET also answers HEAD."""
    by_path: dict[str, SimpleNamespace] = {}
    for route in routes:
        resource = by_path.setdefault(route.path, SimpleNamespace())
        setattr(resource, f"on_{route.method.lower()}", route.respond)
        if route.method == "GET":
            resource.on_head = route.respond
    return by_path


class Endpoint:
    """An operation as a route."""

    def __init__(self, spark: Spark, operation: Operation, max_body: int, gate: Gate) -> None:
        self._spark = spark
        self._operation = operation
        self._max_body = max_body
        self._gate = gate

    @cached_property
    def _lists(self) -> frozenset[str]:
        return list_fields(self._operation.request)

    async def respond(self, req: Request, resp: Response, /, **path: str) -> None:
        """Check the request, run the operation, and answer with its result or its events."""
        caller = self._gate.known(self._operation.path, req) or f"http {req.remote_addr}"
        if self._operation.effect is not Effect.READ:
            refuse_cross_site(req)
        headers = header_fields(req, self._operation.headers)
        await self._spark.require(self._operation, headers)
        body, text = await read_fields(req, path, self._lists, self._max_body)
        request = check_request(self._operation, body, text={**text, **headers})
        if self._has_events and EVENT_STREAM in (req.get_header("Accept") or "").lower():
            await self._stream(req, resp, request, caller)
        else:
            _answer(resp, await self._run(request, None, caller), self._operation.status)

    @property
    def _has_events(self) -> bool:
        return self._operation.streams or self._operation.reports_progress

    async def _stream(self, req: Request, resp: Response, request: BaseModel, caller: str) -> None:
        if req.method != "HEAD":
            told = events(
                lambda feed: self._run(request, feed, caller),
                lambda error: log_failure(error, req),
            )
            resp.stream = EventStream(told, await anext(told))
        resp.content_type = EVENT_STREAM
        resp.set_header("X-Accel-Buffering", "no")  # or nginx would hold the events back

    async def _run(self, request: BaseModel, feed: Feed | None, caller: str) -> BaseModel | None:
        """Run the operation, telling *feed* of its progress and its events."""
        result = None
        running = self._spark.stream(self._operation, request, caller=caller, progress=feed)
        async with aclosing(running) as results:
            async for result in results:
                if feed is not None and self._operation.streams:
                    await feed.put(result)
        return result


def _answer(resp: Response, result: BaseModel | None, status: int) -> None:
    resp.status = status
    if result is None or status == 204:  # a stream without events has no result
        resp.status = 204
        return
    resp.content_type = JSON
    resp.data = result.model_dump_json(by_alias=True).encode()
