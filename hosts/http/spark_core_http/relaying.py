"""Relays over ASGI: bytes in, bytes out, with as little as possible done to each request.

They do not go through Falcon's routing: what a relay costs is most of what a gateway costs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import falcon
import falcon.asgi
from pydantic_core import from_json, to_json

from spark_core import Spark
from spark_core.errors import Forbidden, SparkError
from spark_core.gateway.admission import Slot
from spark_core.gateway.backends import Relay
from spark_core.gateway.connection import BrokenOff, Connection, Header
from spark_core.gateway.gateway import Gateway, Target, UnknownModel
from spark_core.gateway.settings import GatewaySettings
from spark_core.gateway.upstream import Refused

from .composing import Composing
from .demand import Demand
from .forwarding import CutOff, Forwarding
from .headers import server_timing
from .incoming import Incoming, between_neighbours
from .openai_errors import error_answer
from .origins import refuse_cross_site
from .uploads import Upload

if TYPE_CHECKING:
    from .metrics import Meter

__all__ = ["Relaying"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)

#: Bytes of an answer of known length up to which it is read whole and sent in one piece.
SMALL: Final = 65536


class Relaying:
    """Serves the relays that *spark* offers."""

    def __init__(self, spark: Spark) -> None:
        self._spark = spark
        self._relays = {
            (relay.method, path): relay for relay in spark.plugins.relays() for path in relay.paths
        }
        found = spark.settings.models().get(GatewaySettings)
        self._settings = found if isinstance(found, GatewaySettings) else GatewaySettings()
        self._gateway: Gateway | None = None
        self._demand = Demand(spark)
        from .metrics import meter  # in the worker: what it counts in is set up by then

        self._meter = meter
        self._composing = Composing(spark, meter)

    def find(self, scope: Scope) -> Relay | None:
        """The relay that *scope* asks for."""
        return self._relays.get((scope["method"], scope["path"]))

    async def serve(self, relay: Relay, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request and its answer; what goes wrong is answered as OpenAI would."""
        upload = Upload(receive)
        request = Incoming(relay, scope, upload, self._settings)
        try:
            request.read_head(scope["headers"])
            if request.from_page:
                refuse_cross_site(falcon.asgi.Request(scope, receive))
            if (composition := self._composing.always(relay)) is not None:
                await self._composing.answer(composition, request, scope["headers"], send)
            else:
                await self._relay(request, send)
        except falcon.HTTPForbidden as error:
            await _refuse(Forbidden(error.description or "refused"), request, send)
        except SparkError as error:
            if request.answered:
                log.warning("relay %s: %s (request %s)", relay.name, error, request.id.decode())
                raise CutOff from None
            await _refuse(error, request, send)
        await upload.drain()  # what answers before it has read everything is seen all the same

    async def _relay(self, request: Incoming, send: Send) -> None:
        if self._gateway is None:
            self._gateway = await self._spark.resolver.get(Gateway)
        exchange = Exchange(self._gateway, self._demand, self._meter, request, send)
        if request.relay.model_from == "form":
            await self._composing.serve(request, self._gateway, exchange.run, send)
        else:
            await exchange.run()


async def _refuse(error: SparkError, request: Incoming, send: Send) -> None:
    status, headers, body = error_answer(error)
    headers += (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request.id),
    )
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Exchange:
    """One request, from its admission to the last byte of its answer."""

    __slots__ = (
        "_added",
        "_asked",
        "_began",
        "_demand",
        "_first",
        "_gateway",
        "_meter",
        "_meter_of",
        "_request",
        "_send",
        "_slot",
        "_until",
        "_waited",
    )

    def __init__(
        self,
        gateway: Gateway,
        demand: Demand,
        meter: Callable[[str, str], Meter],
        request: Incoming,
        send: Send,
    ) -> None:
        self._gateway = gateway
        self._demand = demand
        self._meter_of = meter
        self._request = request
        self._send = send
        self._meter = meter(request.relay.name, "")  # until it is known which one
        self._slot: Slot | None = None
        self._until = self._waited = 0.0
        self._began = request.began

    async def run(self) -> None:
        """Relay it."""
        request = self._request
        model = await request.model()
        outcome = "failed"
        try:
            answer = await self._ask(model)
            try:
                await self._pass_on(answer)
            finally:
                answer.close()
            outcome = str(answer.status)
        except SparkError as error:
            outcome = error.code
            if self._slot is not None and not self._is_over:
                self._gateway.lost(self._slot.name, error)
            raise
        except asyncio.CancelledError:
            outcome = "client-left"
            raise
        finally:
            self._meter.count(outcome)

    async def _ask(self, model: str | None) -> Connection:
        """The answer of a backend that serves *model*: another is asked where that is safe."""
        gateway = self._gateway
        generation, revived = gateway.generation, False
        targets = await self._targets(model)
        while True:
            slot = await self._admit([*targets])
            if generation != gateway.generation:
                generation = gateway.generation
                targets = await self._targets(model, slot)
                if not slot.held:
                    self._waited += slot.queued_s
                    continue
            target = targets.pop(slot.name)
            try:
                answer = await self._send_to(target, slot, model)
            except Refused as error:
                gateway.failed(target.backend, error)
                if not targets:
                    if revived:
                        raise
                    targets, revived = await self._brought(model, error), True
                self._meter.count(error.code)
                continue
            if answer.status == 503 and targets and self._request.again:
                answer.close()
                self._meter.count("503")
                continue
            return answer

    async def _targets(self, model: str | None, slot: Slot | None = None) -> dict[str, Target]:
        """Where the request can go, by name: now that models changed while it waited for *slot*."""
        gateway, relay = self._gateway, self._request.relay
        try:
            if slot is not None:
                return _by_name(await gateway.targets_of(slot, relay, model))
            return _by_name(await gateway.targets(relay, model))
        except UnknownModel as error:
            return await self._brought(model, error)

    async def _brought(self, model: str | None, error: SparkError) -> dict[str, Target]:
        """Where the request can go now that its model was loaded for it.

        :raises SparkError: that cannot be, so it is *error*.
        """
        began = time.monotonic()
        if model is None or not await self._demand.brings(model, self._patience):
            raise error
        self._waited += time.monotonic() - began
        return _by_name(await self._gateway.targets(self._request.relay, model))

    @property
    def _left(self) -> float:
        """Seconds until the answer must begin, as the caller wants it."""
        return max(self._began + self._request.deadline_s - time.monotonic(), 0.001)

    @property
    def _is_over(self) -> bool:
        """Whether the answer comes too late for the caller."""
        return time.monotonic() >= self._began + self._request.deadline_s

    @property
    def _patience(self) -> float:
        """Seconds that the caller still waits, for its model and its turn together."""
        now = time.monotonic()
        if not self._until:
            self._until = now + min(self._request.wait_s, self._left)
        return max(self._until - now, 0.001)

    async def _admit(self, names: list[str]) -> Slot:
        admission, request = self._gateway.admission, self._request
        return admission.try_admit(names) or await admission.admit(
            names,
            caller=request.caller,
            priority=request.priority,
            wait_s=self._patience,
        )

    async def _send_to(self, target: Target, slot: Slot, model: str | None) -> Connection:
        request = self._request
        self._slot = slot
        self._meter = self._meter_of(request.relay.name, target.backend.name)
        self._asked = time.monotonic()
        headers = request.headers
        at = request.target
        body: bytes | AsyncIterable[bytes] = b""
        if request.form is not None:
            length, body = request.form.body(target.model)
            headers = [*headers, _framing(length)]
        elif request.body is not None:
            body = _renamed(request.body, model, target.model)
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        elif request.length is not None:
            headers = [*headers, (b"content-length", b"%d" % request.length)]
            body = request.pieces() if request.length else b""
        elif request.relay.method != "GET":
            headers = [*headers, (b"transfer-encoding", b"chunked")]
            body = request.pieces()
        else:
            at = request.target_with(target.model)
        answer = await target.upstream.ask(
            request.relay.method.encode(),
            at,
            headers,
            body,
            first_byte_s=min(target.backend.section.first_byte_s, self._left),
            silent_s=target.backend.section.silent_s,
            when_complete=slot.release,
        )
        self._first = time.monotonic()
        self._gateway.answered(target.backend, answer.status)
        return answer

    async def _pass_on(self, answer: Connection) -> None:
        """Send the answer's bytes on as they come."""
        send = self._send
        first = b""
        if answer.length is not None and answer.length <= SMALL:
            while piece := await answer.read():
                first = first + piece if first else piece
            self._request.answered = True
            await send(self._start(answer))
            await send({"type": "http.response.body", "body": first})
            self._count()  # now that nobody waits for it
            return
        self._request.answered = True
        await send(self._start(answer))
        self._count()
        forwarding = Forwarding(send)
        await forwarding.run(answer)
        if _is_half_an_event(answer, forwarding.last):
            raise BrokenOff("the backend ended its answer within an event")
        await send({"type": "http.response.body", "body": b""})

    def _start(self, answer: Connection) -> dict[str, Any]:
        queued, asked = self._queued, self._first - self._asked
        took = time.monotonic() - self._began - self._request.body_s
        self._added = added = max(took - queued - asked, 0.0)
        timing = server_timing(queued, asked, added)
        dropped = between_neighbours(answer.headers)
        headers = [h for h in answer.headers if h[0] not in dropped and h[0] != b"x-request-id"]
        headers += ((b"x-request-id", self._request.id), (b"server-timing", timing))
        return {"type": "http.response.start", "status": answer.status, "headers": headers}

    def _count(self) -> None:
        self._meter.answered(self._queued, self._first - self._asked, self._added)

    @property
    def _queued(self) -> float:
        """Seconds that the request waited for its model and its turn."""
        assert self._slot is not None
        return self._slot.queued_s + self._waited


def _by_name(targets: list[Target]) -> dict[str, Target]:
    return {target.backend.name: target for target in targets}


def _framing(length: int | None) -> Header:
    """What tells the backend where a body ends."""
    if length is None:
        return b"transfer-encoding", b"chunked"
    return b"content-length", b"%d" % length


def _is_half_an_event(answer: Connection, last: bytes) -> bool:
    """Whether a stream of events ended before its last one was whole, with *last*."""
    if not last.strip() or last.endswith((b"\n\n", b"\r\r", b"\n\r\n")):
        return False
    headers = dict(answer.headers)
    is_plain = headers.get(b"content-encoding", b"identity") == b"identity"
    return is_plain and headers.get(b"content-type", b"").startswith(b"text/event-stream")


def _renamed(body: bytes, asked: str | None, real: str | None) -> bytes:
    """*body* with the model's real name where the caller used another one."""
    if real == asked or real is None:
        return body
    return to_json({**from_json(body), "model": real})
