"""Requests to relays: what of their heads matters here, and their bodies as they come."""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncIterator, Set
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import falcon
from pydantic_core import from_json

from spark_core.errors import BackendError, InvalidRequest, Problem
from spark_core.gateway.admission import Priority
from spark_core.gateway.backends import Relay
from spark_core.gateway.connection import Header
from spark_core.gateway.settings import GatewaySettings

from .forms import Framed
from .headers import SANE
from .openai_errors import Incomplete, TooLarge
from .uploads import Upload

__all__ = ["Incoming", "between_neighbours"]

Scope = dict[str, Any]

#: Headers that are between two neighbours only (RFC 9110, 7.6.1), or that each server sets.
HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade expect host date server".split()
)

#: Bytes in a second that a body must come with, and the seconds that it may take beside that:
#: it may be sent on as it comes, and then the backend waits for it.
SLOWEST: Final = 64 * 1024
PATIENCE_SECONDS: Final = 30.0

#: Bytes of JSON from which on it is looked at before it is parsed, and the values that it may
#: have then: so many take some tenths of a second, in which nothing else goes on.
LARGE: Final = 1024 * 1024
MOST_VALUES: Final = 1_000_000

_TEXT_OR_MARK: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{,]', re.DOTALL)

#: Marks a request that a gateway relays: one that comes back to a gateway goes in a circle.
MARK: Final = b"x-spark-relayed"


class Incoming:
    """A request to a relay: what of its head matters here, and its body."""

    __slots__ = (
        "_most", "_received", "_upload", "_whole", "answered", "authorization", "began", "body",
        "body_s", "client", "deadline_s", "encoded", "form", "from_page", "headers", "id",
        "length", "priority", "query", "relay", "target", "wait_s",
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
        self.began = time.monotonic()
        self.body_s = 0.0  # how long its body took to come, where that was waited for

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
        """Whose turn it is in the queue: who has the same address and the same key.

        Not the key alone: most programs send one that says nothing, and that of some page.
        """
        return f"{self.client[0] if self.client else ''} {self.authorization.decode('latin-1')}"

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes.

        :raises Incomplete: the rest of it will not come.
        :raises TooLarge: it is larger than what is taken.
        """
        waited = 0.0
        while not self._whole:
            began = time.monotonic()
            piece = await self._piece()
            waited += time.monotonic() - began
            if waited > PATIENCE_SECONDS + self._received / SLOWEST:
                raise Incomplete(f"the body comes with less than {SLOWEST} bytes in a second")
            if piece:
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
            pieces, began = [], time.monotonic()
            while not self._whole:  # the generator above would cost more than all the rest of this
                pieces.append(await self._piece())
            self.body = b"".join(pieces)
            self.body_s = time.monotonic() - began
        return self.body

    def has_come(self) -> None:
        """What had to come of its body before it could be decided about has come."""
        self.body_s = time.monotonic() - self.began

    @property
    def again(self) -> bool:
        """Whether it can be sent once more after its body was sent."""
        if self.form is not None:
            return self.form.again
        return self.body is not None or self.relay.method == "GET"

    async def model(self) -> str | None:
        """The model that the request names, if it does.

        :raises InvalidRequest: the body is no JSON object, or the model is no text.
        """
        if self.form is not None:
            return self.form.model
        if self.relay.model_from == "json":
            if self.encoded:
                return None
            body = await self.read()
            if len(body) > LARGE:
                await _check_values(body)
            return _model_in(body)
        if self.relay.model_from == "query":
            return dict(self._parameters).get("model")
        return None

    def target_with(self, model: str | None) -> bytes:
        """The path and query, with *model* as the model's name where the query has one."""
        if self.relay.model_from != "query" or model in (None, dict(self._parameters).get("model")):
            return self.target
        renamed = [(n, model if n == "model" else value) for n, value in self._parameters]
        return self.target.partition(b"?")[0] + b"?" + urlencode(renamed).encode()

    @property
    def _parameters(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query.decode("latin-1"), keep_blank_values=True)


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


async def _check_values(body: bytes) -> None:
    """Look whether *body* can be parsed without keeping everybody else waiting.

    :raises TooLarge: it has too many values, however few bytes each of them takes.
    """
    count = 0
    for start in range(0, len(body), LARGE):
        count += sum(body.count(mark, start, start + LARGE) for mark in (b"[", b"{", b","))
        await asyncio.sleep(0)
        if count > MOST_VALUES:  # unless they stand in texts, which takes longer to find out
            return await _check_marks(body)


async def _check_marks(body: bytes) -> None:
    """As above, where what stands in texts does not count."""
    for count, _ in enumerate(_TEXT_OR_MARK.finditer(body)):
        if count > 2 * MOST_VALUES:  # for texts, there is one more match each
            raise TooLarge(f"the body has more than {MOST_VALUES} values")
        if not count % 10_000:
            await asyncio.sleep(0)


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
