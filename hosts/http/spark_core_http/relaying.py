"""Relays over ASGI: bytes in, bytes out, with as little as possible done to each request.

They do not go through Falcon's routing: what a relay costs is most of what a gateway costs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Set
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import falcon
import falcon.asgi
from pydantic_core import from_json, to_json

from spark_core import Spark
from spark_core.errors import BackendError, Forbidden, InvalidRequest, Problem, SparkError
from spark_core.gateway.admission import Priority, Slot
from spark_core.gateway.backends import Relay
from spark_core.gateway.connection import BrokenOff, Connection, Header
from spark_core.gateway.gateway import Gateway, Target
from spark_core.gateway.settings import GatewaySettings
from spark_core.gateway.upstream import Refused

from .composing import Composing
from .forms import Framed
from .forwarding import Forwarding
from .headers import SANE
from .openai_errors import Incomplete, TooLarge, error_answer
from .origins import refuse_cross_site
from .uploads import Upload

if TYPE_CHECKING:
    from .metrics import Meter

__all__ = ["Relaying"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)

#: Headers that are between two neighbours only (RFC 9110, 7.6.1), or that each server sets.
HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade expect host date server".split()
)

#: Bytes of an answer of known length up to which it is read whole and sent in one piece.
SMALL: Final = 65536

#: Marks a request that a gateway relays: one that comes back to a gateway goes in a circle.
MARK: Final = b"x-spark-relayed"


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
        self._composing = Composing(spark)
        from .metrics import meter  # in the worker: what it counts in is set up by then

        self._meter = meter

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
            if self._gateway is None:
                self._gateway = await self._spark.resolver.get(Gateway)
            exchange = Exchange(self._gateway, self._meter, request, send)
            if self._composing.looks_into(relay, self._gateway):
                await self._composing.serve(request, self._gateway, exchange.run, send)
            else:
                await exchange.run()
        except falcon.HTTPForbidden as error:
            await _refuse(Forbidden(error.description or "refused"), request, send)
        except SparkError as error:
            if request.answered:
                log.warning("relay %s: %s (request %s)", relay.name, error, request.id.decode())
                # The server breaks the connection off, so that the client sees no clean end.
                raise asyncio.CancelledError from None
            await _refuse(error, request, send)
        await upload.drain()  # what answers before it has read everything is seen all the same


async def _refuse(error: SparkError, request: Incoming, send: Send) -> None:
    status, headers, body = error_answer(error)
    headers += (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request.id),
    )
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Incoming:
    """A request to a relay: what of its head matters here, and its body."""

    __slots__ = (
        "_most", "_received", "_upload", "_whole", "answered", "authorization", "body", "client",
        "deadline_s", "encoded", "form", "from_page", "headers", "id", "length", "priority",
        "query", "relay", "target", "wait_s",
    )  # fmt: skip

    def __init__(
        self, relay: Relay, scope: Scope, upload: Upload, settings: GatewaySettings
    ) -> None:
        self._upload = upload
        self._received, self._whole = 0, False
        self._most = settings.max_json if relay.model_from == "json" else settings.max_upload
        self.relay = relay
        self.query: bytes = scope["query_string"]
        self.target = (relay.at or relay.path).encode() + (b"?" + self.query if self.query else b"")
        self.client = scope["client"]
        self.body: bytes | None = None
        self.form: Framed | None = None
        self.answered = False
        self.id = b"%032x" % random.getrandbits(128)
        self.authorization = b""
        self.length: int | None = None
        self.priority = Priority.INTERACTIVE
        self.wait_s = settings.wait_s
        self.deadline_s = math.inf
        self.headers: list[Header] = []
        self.encoded = self.from_page = False

    def read_head(self, headers: list[Header]) -> None:
        """Keep of *headers* what the backend is to see, and heed the rest.

        :raises SparkError: a header is wrong, or says that this request goes in a circle.
        """
        dropped = between_neighbours(headers)
        for header in headers:
            name, value = header
            if name in dropped:
                continue
            if name == b"content-length":
                self.length = int(value)
            elif name == b"x-request-id":
                if SANE.fullmatch(value.decode("latin-1")):
                    self.id = value
            elif name.startswith(b"x-spark-"):
                self._read_own(name, value)
            elif name in (b"origin", b"sec-fetch-site"):
                self.from_page = True
            else:
                if name == b"authorization":
                    self.authorization = value
                elif name == b"content-encoding":
                    self.encoded = value != b"identity"
                elif not name:  # so gunicorn's parser calls a line that continues another one
                    raise InvalidRequest("a header goes on in a second line")
                self.headers.append(header)
        self.headers += ((b"x-request-id", self.id), (MARK, b"1"))

    def _read_own(self, name: bytes, value: bytes) -> None:
        if name == MARK:
            raise Circle("this request was relayed before: a backend's url is this gateway's own")
        if name == b"x-spark-priority" and value.lower() == b"batch":
            self.priority = Priority.BATCH
        elif name == b"x-spark-wait":
            self.wait_s = _seconds(name, value)
        elif name == b"x-spark-deadline":
            self.deadline_s = _seconds(name, value)

    @property
    def caller(self) -> str:
        """Whose turn it is in the queue: who has the same key, else who has the same address."""
        return self.authorization.decode("latin-1") or (self.client[0] if self.client else "")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes.

        :raises Incomplete: the rest of it will not come.
        :raises TooLarge: it is larger than what is taken.
        """
        while not self._whole:
            if piece := await self._piece():
                yield piece

    async def _piece(self) -> bytes:
        self._check_size(self.length or 0)
        try:
            event = await self._upload.receive()
        except falcon.HTTPError:
            raise Incomplete("the request ended, or fell silent, within its body") from None
        if event["type"] == "http.disconnect":
            raise Incomplete("the request ended before its body")
        piece: bytes = event.get("body", b"")
        self._received += len(piece)
        self._check_size(self._received)
        self._whole = not event.get("more_body", False)
        if self._whole and self.length is not None and self._received != self.length:
            # Servers end a body that was cut off as if it was whole.
            raise Incomplete("the request's body is shorter than its content-length")
        return piece

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise TooLarge(f"the body is larger than {self._most} bytes")

    async def read(self) -> bytes:
        """The whole body, which is kept."""
        if self.body is None:
            pieces = []
            while not self._whole:  # the generator above would cost more than all the rest of this
                pieces.append(await self._piece())
            self.body = b"".join(pieces)
        return self.body

    async def model(self) -> str | None:
        """The model that the request names, if it does.

        :raises InvalidRequest: the body is no JSON object, or the model is no text.
        """
        if self.form is not None:
            return self.form.model
        if self.relay.model_from == "json":
            return _model_in(await self.read()) if not self.encoded else None
        if self.relay.model_from == "query":
            return parse_qs(self.query.decode("latin-1")).get("model", [None])[0]
        return None


def between_neighbours(headers: list[Header]) -> Set[bytes]:
    """The names of those of *headers* that are not passed on: ``connection`` may name more."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            return HOP.union(word.strip().lower() for word in value.split(b","))
    return HOP


class Circle(BackendError):
    """A request came back to the gateway that relayed it."""


def _seconds(name: bytes, value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise InvalidRequest(f"{name.decode()} must be seconds, from 0 to 3600")
    return seconds


def _model_in(body: bytes) -> str | None:
    try:
        fields = from_json(body)
    except ValueError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the body must be a JSON object")
    model = fields.get("model")
    if model is not None and not isinstance(model, str):
        problem = Problem("/model", "Input should be a string")
        raise InvalidRequest("model: Input should be a string", problems=[problem])
    return model


class Exchange:
    """One request, from its admission to the last byte of its answer."""

    __slots__ = (
        "_added",
        "_asked",
        "_began",
        "_first",
        "_gateway",
        "_meter",
        "_meter_of",
        "_request",
        "_send",
        "_slot",
    )

    def __init__(
        self,
        gateway: Gateway,
        meter: Callable[[str, str], Meter],
        request: Incoming,
        send: Send,
    ) -> None:
        self._gateway = gateway
        self._meter_of = meter
        self._request = request
        self._send = send
        self._meter = meter(request.relay.name, "")  # until it is known which one
        self._began = time.monotonic()

    async def run(self) -> None:
        """Relay it."""
        request = self._request
        model = await request.model()
        targets = await self._gateway.targets(request.relay, model)
        outcome = "failed"
        try:
            answer = await self._ask(targets, model)
            try:
                await self._pass_on(answer)
            finally:
                answer.close()
            outcome = str(answer.status)
        except SparkError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "client-left"
            raise
        finally:
            self._meter.count(outcome)

    async def _ask(self, targets: list[Target], model: str | None) -> Connection:
        """The answer of one of *targets*: another is asked where that is safe."""
        by_name = {target.backend.name: target for target in targets}
        while True:
            slot = await self._admit([*by_name])
            target = by_name.pop(slot.name)
            try:
                answer = await self._send_to(target, slot, model)
            except SparkError as error:
                self._gateway.failed(target.backend, error)
                if not isinstance(error, Refused) or not by_name:
                    raise
                self._meter.count(error.code)
                continue
            if answer.status == 503 and by_name and self._request.body is not None:
                answer.close()
                self._meter.count("503")
                continue
            return answer

    @property
    def _left(self) -> float:
        """Seconds until the answer must begin, as the caller wants it."""
        return max(self._began + self._request.deadline_s - time.monotonic(), 0.001)

    async def _admit(self, names: list[str]) -> Slot:
        admission, request = self._gateway.admission, self._request
        return admission.try_admit(names) or await admission.admit(
            names,
            caller=request.caller,
            priority=request.priority,
            wait_s=min(request.wait_s, self._left),
        )

    async def _send_to(self, target: Target, slot: Slot, model: str | None) -> Connection:
        request = self._request
        self._slot = slot
        self._meter = self._meter_of(request.relay.name, target.backend.name)
        self._asked = time.monotonic()
        headers = request.headers
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
        answer = await target.upstream.ask(
            request.relay.method.encode(),
            request.target,
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
        queued, asked = self._slot.queued_s, self._first - self._asked
        self._added = added = max(time.monotonic() - self._began - queued - asked, 0.0)
        timing = b"queue;dur=%.2f, backend;dur=%.2f, gateway;dur=%.2f" % (
            queued * 1e3, asked * 1e3, added * 1e3,
        )  # fmt: skip
        dropped = between_neighbours(answer.headers)
        headers = [h for h in answer.headers if h[0] not in dropped and h[0] != b"x-request-id"]
        headers += ((b"x-request-id", self._request.id), (b"server-timing", timing))
        return {"type": "http.response.start", "status": answer.status, "headers": headers}

    def _count(self) -> None:
        self._meter.answered(self._slot.queued_s, self._first - self._asked, self._added)


def _framing(length: int | None) -> Header:
    """What tells the backend where a body ends."""
    if length is None:
        return b"transfer-encoding", b"chunked"
    return b"content-length", b"%d" % length


def _is_half_an_event(answer: Connection, last: bytes) -> bool:
    """Whether a stream of events ended before its last one was whole, with *last*."""
    # A piece that is no more than the end of a line says nothing by itself.
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
