"""Requests to a relay that a plugin answers itself, told from those that are passed on.

Where a plugin offers that, or where the model's name must choose among several backends, forms
are looked into before they go anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from spark_core import Composition, Relay, Spark
from spark_core.errors import InvalidRequest, SparkError
from spark_core.gateway.admission import Ticket
from spark_core.gateway.compositions import Composed
from spark_core.gateway.forms import Form
from spark_core.gateway.gateway import Gateway
from spark_core.references import resolved

from .form_reading import boundary_of
from .forms import YES, Beginning, Spooled, read_beginning, temporary, write

if TYPE_CHECKING:
    from .incoming import Incoming

__all__ = ["Composing"]

Send = Callable[[dict[str, Any]], Awaitable[None]]
PassOn = Callable[[], Awaitable[None]]

#: What backends hear of who asks, beside what they are asked.
TOLD: Final = frozenset({b"authorization", b"x-request-id", b"x-spark-relayed"})

log = logging.getLogger(__name__)


class Composing:
    """The compositions that *spark* offers."""

    def __init__(self, spark: Spark) -> None:
        self._spark = spark
        self._offered: dict[Relay, tuple[Composition, ...]] = {}
        for composition in spark.plugins.compositions():
            others = self._offered.get(composition.relay, ())
            self._offered[composition.relay] = (*others, composition)

    def looks_into(self, relay: Relay, gateway: Gateway) -> bool:
        """Whether what becomes of a request to *relay* depends on what its form says."""
        return relay.model_from == "form" and (relay in self._offered or gateway.chooses(relay))

    async def serve(self, request: Incoming, gateway: Gateway, pass_on: PassOn, send: Send) -> None:
        """Answer *request*, or *pass_on* its form."""
        offered = self._offered.get(request.relay, ())
        wanted = _wanted(offered, parse_qsl(request.query.decode("latin-1")))
        boundary = _boundary(request)
        if boundary is None:
            if wanted is not None:
                raise InvalidRequest(f"{wanted.field}=true needs a form (multipart/form-data)")
            return await pass_on()
        chooses = gateway.chooses(request.relay)
        beginning = await read_beginning(request.pieces(), boundary, request.length)
        if wanted is None and _says_enough(beginning, chooses):
            wanted = _wanted(offered, beginning.fields)
            if wanted is None:
                beginning.late = frozenset(composition.field for composition in offered)
                beginning.model = dict(beginning.fields).get("model") if chooses else None
                request.form = beginning
                return await pass_on()
        with temporary(self._spark.settings.data_directory) as file:
            await write(file, beginning.pieces())
            spooled = await _read(file, boundary, must=wanted is not None)
            wanted = wanted or _wanted(offered, spooled.form.fields)
            if wanted is None:
                spooled.model = spooled.form.last("model") if chooses else None
                request.form = spooled
                await pass_on()
            else:
                await self._answer(wanted, spooled.form, request, send)

    async def _answer(
        self, composition: Composition, form: Form, request: Incoming, send: Send
    ) -> None:
        """Send what *composition* makes of *form*."""
        told = tuple(header for header in request.headers if header[0] in TOLD)
        ticket = Ticket(request.caller, request.priority, request.wait_s, told)
        resolver = self._spark.resolver
        answer = resolved(composition.answer)
        needs = await resolver.fill(answer, {Form: form, Ticket: ticket})
        try:
            composed: Composed = await answer(**needs)
        except SparkError:
            raise
        except Exception as error:
            # Not with its text, which may quote what was said.
            log.error("%s failed: %s", answer.__qualname__, type(error).__name__)
            raise SparkError(f"{composition.field} failed unexpectedly; the log says how") from None
        request.answered = True
        headers = [
            (b"content-type", composed.media_type.encode()),
            (b"content-length", b"%d" % len(composed.body)),
            (b"x-request-id", request.id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": composed.body})


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


def _says_enough(beginning: Beginning, chooses: bool) -> bool:
    """Whether the fields that came first decide; who sends none there sends them later."""
    if not beginning.readable:
        return True
    names = {name for name, _ in beginning.fields}
    return beginning.has_file and bool(names) and ("model" in names or not chooses)


async def _read(file: IO[bytes], boundary: bytes, *, must: bool) -> Spooled:
    """The form in *file*. Unless it *must*, it may be none: the backend says what is wrong."""
    spooled = Spooled(file, boundary)
    try:
        await spooled.read()
    except InvalidRequest:
        if must:
            raise
    return spooled
