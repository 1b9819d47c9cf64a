"""Requests to a relay that a plugin answers itself, told from those that are passed on.

Forms are looked into before they go anywhere: what is asked for may be in them, and the model.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from spark_core import Composition, Relay, Spark
from spark_core.errors import BackendError, InvalidRequest, SparkError, TimedOut
from spark_core.gateway.admission import Ticket
from spark_core.gateway.compositions import Asked, Composed
from spark_core.gateway.connection import Header
from spark_core.gateway.forms import Form
from spark_core.gateway.gateway import Gateway
from spark_core.references import resolved

from .form_reading import boundary_of
from .forms import YES, Beginning, Spooled, read_beginning, temporary, write
from .headers import server_timing

if TYPE_CHECKING:
    from .incoming import Incoming
    from .metrics import Meter

__all__ = ["Composing"]

Send = Callable[[dict[str, Any]], Awaitable[None]]
PassOn = Callable[[], Awaitable[None]]

#: What backends hear of who asks, beside what they are asked.
TOLD: Final = frozenset({b"authorization", b"x-request-id", b"x-spark-relayed"})

log = logging.getLogger(__name__)


class Composing:
    """The compositions that *spark* offers."""

    def __init__(self, spark: Spark, meter: Callable[[str, str], Meter]) -> None:
        self._spark = spark
        self._meter = meter
        self._offered: dict[Relay, tuple[Composition, ...]] = {}
        self._always: dict[Relay, Composition] = {}
        for composition in spark.plugins.compositions():
            if composition.field is None:
                self._always[composition.relay] = composition
                continue
            others = self._offered.get(composition.relay, ())
            self._offered[composition.relay] = (*others, composition)

    def always(self, relay: Relay) -> Composition | None:
        """What answers every request to *relay*, if anything does."""
        return self._always.get(relay)

    async def answer(
        self,
        composition: Composition,
        request: Incoming,
        headers: Sequence[Header],
        send: Send,
    ) -> None:
        """Let *composition* answer *request*, which has these *headers*.

        :raises SparkError: its body cannot be read as JSON.
        """
        if request.encoded:
            raise InvalidRequest("the body must not be compressed here")
        await request.model()  # reads the body, and looks whether it is an object
        client = request.client[0] if request.client else ""
        asked = Asked(await request.read(), tuple(headers), client)
        await self._compose(composition, {Asked: asked}, request, send)

    async def serve(self, request: Incoming, gateway: Gateway, pass_on: PassOn, send: Send) -> None:
        """Answer *request*, or *pass_on* its form."""
        offered = self._offered.get(request.relay, ())
        wanted = _wanted(offered, parse_qsl(request.query.decode("latin-1")))
        boundary = _boundary(request)
        if boundary is None:
            if wanted is not None:
                raise InvalidRequest(f"{wanted.field}=true needs a form (multipart/form-data)")
            return await pass_on()
        beginning = await read_beginning(request.pieces(), boundary, request.length)
        if wanted is None and _says_enough(beginning):
            wanted = _wanted(offered, beginning.fields)
            if wanted is None:
                beginning.late = frozenset(filter(None, (c.field for c in offered)))
                beginning.model = dict(beginning.fields).get("model") or None
                return await self._pass_on(beginning, request, gateway, pass_on)
        with self._temporary() as file:
            await write(file, beginning.pieces())
            spooled = await _read(file, boundary, must=wanted is not None)
            request.has_come()
            wanted = wanted or _wanted(offered, spooled.form.fields)
            if wanted is None:
                spooled.model = spooled.form.last("model") or None
                request.form = spooled
                await pass_on()
            else:
                await self._compose(wanted, {Form: spooled.form}, request, send)

    async def _pass_on(
        self, form: Beginning, request: Incoming, gateway: Gateway, pass_on: PassOn
    ) -> None:
        """Let *form* stream through, or come first where another backend can be asked then."""
        request.form = form
        if not gateway.chooses(request.relay):
            request.has_come()
            return await pass_on()
        with self._temporary() as file:
            await form.keep(file)
            request.has_come()
            await pass_on()

    def _temporary(self) -> AbstractContextManager[IO[bytes]]:
        return temporary(self._spark.settings.data_directory)

    async def _compose(
        self, composition: Composition, given: Mapping[type, Any], request: Incoming, send: Send
    ) -> None:
        """Send what *composition* makes of what is *given*, and count what comes of it."""
        outcome = "failed"
        try:
            composed, timing = await self._composed(composition, given, request)
            headers = [
                (b"content-type", composed.media_type.encode()),
                *composed.headers,
                (b"x-request-id", request.id),
                (b"server-timing", timing),
            ]
            if isinstance(composed.body, bytes):
                headers.append((b"content-length", b"%d" % len(composed.body)))
            start = {"type": "http.response.start", "status": composed.status, "headers": headers}
            if isinstance(composed.body, bytes):
                request.answered = True
                await send(start)
                await send({"type": "http.response.body", "body": composed.body})
            else:
                await _send_pieces(composed.body, start, request, send)
            outcome = str(composed.status)
        except SparkError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "client-left"
            raise
        finally:
            self._meter(request.relay.name, "").count(outcome)

    async def _composed(
        self, composition: Composition, given: Mapping[type, Any], request: Incoming
    ) -> tuple[Composed, bytes]:
        """What *composition* makes of what is *given*, and how long that took.

        :raises TimedOut: it does not come by the caller's deadline.
        """
        told = tuple(header for header in request.headers if header[0] in TOLD)
        left = max(request.began + request.deadline_s - time.monotonic(), 0.0)
        ticket = Ticket(request.caller, request.priority, min(request.wait_s, left), told)
        answer = resolved(composition.answer)
        needs = await self._spark.resolver.fill(answer, {**given, Ticket: ticket})
        try:
            async with asyncio.timeout(left if left < math.inf else None) as limit:
                composed: Composed = await answer(**needs)
        except SparkError:
            raise
        except Exception as error:
            if limit.expired():
                raise TimedOut(f"no answer came within {request.deadline_s:g} s") from None
            # Not with its text, which may quote what was said.
            log.error("%s failed: %s", answer.__qualname__, type(error).__name__)
            what = composition.field or composition.relay.path
            raise SparkError(f"{what} failed unexpectedly; the log says how") from None
        spent, took = ticket.spent, time.monotonic() - request.began - request.body_s
        added = max(took - spent.queued_s - spent.asked_s, 0.0)
        return composed, server_timing(spent.queued_s, spent.asked_s, added)


async def _send_pieces(
    body: AsyncGenerator[bytes, None], start: dict[str, Any], request: Incoming, send: Send
) -> None:
    """Send *start* when the first piece of *body* is there, and each as it comes.

    A generator that never began could not be closed, so nothing is awaited before.
    """
    async with aclosing(body):
        while (piece := await _next(body)) is not None:
            if not request.answered:
                request.answered = True
                await send(start)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    if not request.answered:
        request.answered = True
        await send(start)
    await send({"type": "http.response.body", "body": b""})


async def _next(body: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next piece; None at the end.

    :raises SparkError: there is none.
    """
    try:
        return await anext(body, None)
    except SparkError:
        raise
    except Exception as error:
        # Not with its text, which may quote what was said.
        log.error("an answer broke off: %s", type(error).__name__)
        raise BackendError("the answer failed unexpectedly") from None


def _wanted(
    offered: Sequence[Composition], fields: Iterable[tuple[str, str]]
) -> Composition | None:
    """The first of *offered* that one of *fields* wants."""
    said = {name for name, value in fields if value.strip().lower() in YES}
    return next((composition for composition in offered if composition.field in said), None)


def _boundary(request: Incoming) -> bytes | None:
    """What parts the request's form; None where it has none, or none that can be read."""
    kind = next((value for name, value in request.headers if name == b"content-type"), b"")
    return boundary_of(kind) if not request.encoded else None


def _says_enough(beginning: Beginning) -> bool:
    """Whether the fields that came first decide; who names no model there may do so later."""
    if not beginning.readable:
        return True
    return beginning.has_file and any(name == "model" for name, _ in beginning.fields)


async def _read(file: IO[bytes], boundary: bytes, *, must: bool) -> Spooled:
    """The form in *file*. Unless it *must*, it may be none: the backend says what is wrong."""
    spooled = Spooled(file, boundary)
    try:
        await spooled.read()
    except InvalidRequest:
        if must:
            raise
    return spooled
