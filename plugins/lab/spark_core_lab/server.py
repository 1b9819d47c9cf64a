"""A stand-in on its port: HTTP, what goes wrong with it, and what is counted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from .answers import STAND_IN, Answer, Call, in_json
from .backend import Backend
from .exchange import in_pieces, make_request, read_call
from .faults import Fault, Faults
from .knobs import Knobs
from .listener import Listener

__all__ = ["Counters", "StandIn"]

#: As uvicorn has it, under which the runtimes run: a pooled connection is soon a closed one.
KEEP_ALIVE_SECONDS: Final = 5.0

RECENT: Final = 32  #: calls that are remembered
FOR_EVER: Final = 1e6  #: as far as a client is concerned, in seconds

HTML: Final = Answer(b"<!doctype html><title>spark-lab stand-in</title>", type="text/html")

#: What goes wrong with the body of an answer, as it is sent.
OF_THE_BODY: Final = ("cut_mid_stream", "half_event", "slow_body")


@dataclass
class Counters:
    """Requests that asked for work (``POST``), and the others as ``probes``."""

    requests: int = 0  #: that came
    in_flight: int = 0  #: that are being answered
    peak: int = 0  #: the most that were in flight at once
    cancelled: int = 0  #: whose clients left before the answer was sent
    probes: int = 0  #: that came and asked for no work
    peak_together: int = 0  #: the most that this one and those like it had in flight at once


class Together:
    """What several stand-ins have in flight, as those do that share a GPU."""

    def __init__(self) -> None:
        self.in_flight = 0


class StandIn:
    """A backend, served at ``url``, with ``faults`` and ``knobs`` to turn while it runs."""

    def __init__(
        self, backend: Backend, host: str, port: int, together: Together | None = None
    ) -> None:
        self.backend = backend
        self._together = together or Together()
        backend.gpu.changed = self._changed
        self.counters = Counters()
        self.faults = Faults(self._refuse, self._listen)
        #: The calls that came last, without the bodies of uploads.
        self.recent: deque[Call] = deque(maxlen=RECENT)
        self._host = host
        self._server = web.Server(
            self._handle,
            request_factory=make_request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
        )
        self._listener = Listener(host, port, self._server)
        self._reopening: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[Callable[[StandIn], bool], asyncio.Future[None]]] = []
        label = f"{STAND_IN} ({backend.name})"
        self._headers = {"server": label, "x-spark-lab": "stand-in"}

    @property
    def name(self) -> str:
        """Of the backend, and of its section in the settings."""
        return self.backend.name

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://{self._host}:{self._listener.port}"

    @property
    def knobs(self) -> Knobs:
        """Its latency and state; they may be changed at any time."""
        return self.backend.knobs

    @property
    def requests(self) -> int:
        """How many requests for work came."""
        return self.counters.requests

    @property
    def in_flight(self) -> int:
        """How many requests for work are being answered."""
        return self.counters.in_flight

    @property
    def peak(self) -> int:
        """How many requests for work there were at once, at most."""
        return self.counters.peak

    @property
    def cancelled(self) -> int:
        """How many clients left before their answer was sent."""
        return self.counters.cancelled

    async def until(self, holds: Callable[[StandIn], bool]) -> None:
        """Wait until *holds* of it is true; it is asked whenever something is counted."""
        if not holds(self):
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((holds, future))
            await future

    def _changed(self) -> None:
        if not self._waiting:
            return
        for waiting in [w for w in self._waiting if w[1].done() or w[0](self)]:
            self._waiting.remove(waiting)
            if not waiting[1].done():
                waiting[1].set_result(None)

    # --------------------------------------------------------------------------- listening

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[StandIn]:
        """Serve until the block is left; then whoever is connected is hung up on.

        :raises OSError: the port is taken.
        """
        try:
            self._listener.open()
            async with self.backend.running():
                yield self
        finally:
            self._stop_refusing()
            await self._listener.aclose()
            self._hang_up()
            await self._server.shutdown(1.0)

    def _refuse(self, seconds: float | None) -> None:
        self._stop_refusing()
        self._listener.close()
        self._hang_up()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._reopening = loop.call_later(seconds, self._listener.open)

    def _listen(self) -> None:
        self._stop_refusing()
        self._listener.open()

    def _stop_refusing(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()

    def _hang_up(self) -> None:
        """Reset every connection but the one that asked for it."""
        for connection in self._server.connections:
            if connection is not self._asking and connection.transport is not None:
                connection.transport.abort()

    # --------------------------------------------------------------------------- answering

    #: The connection over which a fault is being set.
    _asking: web.RequestHandler | None = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/__lab__/"):
            return await self._control(request)
        fault = self.faults.take(request.method, request.path)
        if request.method != "POST":
            self.counters.probes += 1
            self._changed()
            return await self._respond(request, fault)
        self._begin()
        try:
            return await self._respond(request, fault)
        except asyncio.CancelledError:
            self.counters.cancelled += 1
            raise
        except ConnectionError:  # the same, noticed by a write
            self.counters.cancelled += 1
            return web.Response()
        finally:
            self.counters.in_flight -= 1
            self._together.in_flight -= 1
            self._changed()

    def _begin(self) -> None:
        counters = self.counters
        counters.requests += 1
        counters.in_flight += 1
        counters.peak = max(counters.peak, counters.in_flight)
        self._together.in_flight += 1
        counters.peak_together = max(counters.peak_together, self._together.in_flight)
        self._changed()

    async def _respond(self, request: web.BaseRequest, fault: Fault | None) -> web.StreamResponse:
        call = await read_call(request, fault)
        self.recent.append(replace(call, form={}) if call.form else call)
        instead = await self._instead(fault) if fault else None
        reply = instead or await self.backend.answer(call)
        headers = {**self._headers, "content-type": reply.type, **reply.headers}
        if isinstance(reply, Answer) and not (fault and fault.fault in OF_THE_BODY):
            return web.Response(body=reply.body, status=reply.status, headers=headers)
        return await in_pieces(request, reply, headers, fault)

    async def _instead(self, fault: Fault) -> Answer | None:
        """What *fault* answers in the place of the backend, which may come late or never."""
        if fault.fault == "hang":
            await asyncio.sleep(fault.seconds if fault.seconds is not None else FOR_EVER)
        elif fault.fault == "slow_first_byte":
            await asyncio.sleep(fault.pause)
        elif fault.fault == "html":
            return HTML
        elif fault.fault in ("500", "503"):
            answer = self.backend.failure(int(fault.fault), f"{STAND_IN}: a fault on demand")
            wait = {} if fault.seconds is None else {"retry-after": f"{fault.seconds:g}"}
            return replace(answer, headers={**answer.headers, **wait})
        return None

    # ----------------------------------------------------------------------------- control

    async def _control(self, request: web.BaseRequest) -> web.StreamResponse:
        """Faults, knobs and counters, for who is in another process."""
        body = await request.read()
        self._asking = request.protocol
        try:
            answer = self._turn(request.method, request.path, body)
        except ValidationError as error:
            told = error.errors(include_url=False, include_context=False, include_input=False)
            answer = in_json({"error": told}, 422)
        finally:
            self._asking = None
        headers = {**self._headers, "content-type": answer.type}
        return web.Response(body=answer.body, status=answer.status, headers=headers)

    def _turn(self, method: str, path: str, body: bytes) -> Answer:
        match method, path.removeprefix("/__lab__/"):
            case "POST", "faults":
                fault = Fault.model_validate_json(body)
                if fault.fault == "refuse" and fault.seconds is None:
                    return in_json({"error": "refuse needs seconds: nobody could end it"}, 422)
                self.faults.add(fault)
            case "DELETE", "faults":
                self.faults.clear()
            case "POST", "knobs":
                self.knobs.turn(TypeAdapter(dict[str, Any]).validate_json(body))
            case "DELETE", "counters":
                now = self.in_flight
                together = self._together.in_flight
                self.counters = Counters(in_flight=now, peak=now, peak_together=together)
            case "GET", "":
                pass
            case _:
                return in_json({"error": "see the README of spark-core-lab"}, 404)
        return in_json(self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "stand_in": self.name,
            "faults": [fault.model_dump(exclude_none=True) for fault in self.faults],
            "knobs": self.knobs.model_dump(),
            "counters": asdict(self.counters),
        }
