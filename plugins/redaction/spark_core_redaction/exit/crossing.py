"""The way out and back: scrubbed, asked, restored. What cannot be scrubbed stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic_core import from_json, to_json

from spark_core.errors import BackendError, InvalidRequest, NotConfigured, NotFound
from spark_core.gateway.backends import Relay
from spark_core.gateway.compositions import Asked, Composed
from spark_core.gateway.connection import BrokenOff, Connection, Header
from spark_core.gateway.gateway import Begun, Gateway
from spark_core.gateway.tickets import Ticket
from spark_core.state import AuditLog

from ..scrubbing import Redaction, Scrubbed
from ..withheld import Withheld
from .auditing import Crossing
from .events import EventReader
from .replies import Replies
from .requests import Outgoing
from .streams import Stream, encoded, said_for

__all__ = ["Exit", "FrontierOff", "MakeStream", "open_exit"]

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

#: Bytes of a request or an answer from which on it is worked on in a thread.
LARGE: Final = 256 * 1024

T = TypeVar("T")

#: All that a server outside hears beside the body, its type and its length, and our key.
TOLD: Final[tuple[Header, ...]] = (
    (b"accept", b"application/json, text/event-stream"),
    (b"user-agent", b"spark-core"),
    (b"x-spark-relayed", b"1"),
)

#: What callers hear of its head.
HEARD: Final = (b"retry-after", b"x-ratelimit-")


class FrontierOff(NotFound):
    """No model outside may be asked."""


#: Makes what restores a streamed answer.
MakeStream = Callable[[Replies], Stream]


@asynccontextmanager
async def open_exit(gateway: Gateway, redaction: Redaction, audit: AuditLog) -> AsyncIterator[Exit]:
    """The way out of this process."""
    yield Exit(gateway, redaction, audit)


@dataclass(frozen=True)
class _Sent:
    """What was asked, and what puts its answer right."""

    scrubbed: Scrubbed
    counts: Mapping[str, int]
    replies: Replies
    crossing: Crossing

    def headers(self) -> tuple[Header, ...]:
        """What tells the caller what was done."""
        told = ", ".join(f"{kind}={count}" for kind, count in self.counts.items()) or "nothing"
        return (
            (b"x-spark-redaction", told.encode()),
            (b"x-spark-redaction-handle", self.scrubbed.handle.encode()),
            (b"x-spark-scope", self.scrubbed.scope.encode()),
        )

    async def ended(self, outcome: str) -> None:
        """Write down that it *ended*, and how much could not be restored."""
        await self.crossing.ended(outcome, unknown=self.replies.unknown)


class Exit:
    """Lets requests to models outside through, without what is private."""

    def __init__(self, gateway: Gateway, redaction: Redaction, audit: AuditLog) -> None:
        self._gateway = gateway
        self._redaction = redaction
        self._audit = audit

    async def answer(
        self, relay: Relay, asked: Asked, ticket: Ticket, make_stream: MakeStream
    ) -> Composed:
        """The answer of the model outside to what was *asked*, restored.

        :raises FrontierOff: none is configured.
        :raises UnknownModel: settings do not name the model.
        :raises SparkError: it could not be asked, or its answer cannot be restored.
        """
        body = _parsed(asked.body)
        model = body.get("model")
        if not isinstance(model, str):
            raise InvalidRequest("model: name one of those that settings name")
        real, hosts = await self._targets(relay, model)
        crossing = Crossing(self._audit, asked.client, relay.path, model)
        try:
            outgoing = await _off_loop(Outgoing, body, size=len(asked.body))
            scrubbed = await self._redaction.scrub(
                outgoing.texts, _scope(asked), pointers=outgoing.places
            )
        except Withheld as error:
            await crossing.stays("withheld", error.counts)
            return _withheld(error)
        content = await _off_loop(outgoing.put, scrubbed.texts, real, size=len(asked.body))
        restorer = await self._redaction.restorer(scrubbed.handle)
        replies = Replies(restorer, outgoing.names, json=_wants_json(body))
        counts = outgoing.counted(scrubbed.found)
        await crossing.leaves(content, counts, hosts)
        sent = _Sent(scrubbed, counts, replies, crossing)
        return await self._ask(relay, content, model, ticket, sent, make_stream)

    async def _targets(self, relay: Relay, model: str) -> tuple[str, str]:
        """The model's real name, and the hosts that it may be asked at."""
        try:
            targets = await self._gateway.targets(relay, model)
        except NotConfigured:
            raise FrontierOff(
                "no model outside may be asked",
                hint="set url, models and api_key in [plugins.redaction.frontier]",
            ) from None
        hosts = {urlsplit(target.backend.url).hostname or "" for target in targets}
        return targets[0].model or model, ", ".join(sorted(hosts))

    async def _ask(
        self,
        relay: Relay,
        content: bytes,
        model: str,
        ticket: Ticket,
        sent: _Sent,
        make_stream: MakeStream,
    ) -> Composed:
        outside = replace(ticket, headers=TOLD)
        async with sent.crossing.watched():
            begun = await self._gateway.begin(relay, content, outside, model=model, own_key=True)
            status = begun.answer.status  # now: others may be answered on its connection later
            headers = (*_heard(begun.answer), *sent.headers())
            if _kind(begun.answer) == EVENTS and status == 200:
                told = _streamed(begun, sent, make_stream(sent.replies))
                return Composed(told, EVENTS, 200, headers)
            with closing(begun.answer):
                value, size = await _whole(begun)
            restored = await _off_loop(_restored, sent.replies, value, size=size)
            await sent.ended(str(status))
            unknown = (b"x-spark-redaction-unknown", b"%d" % sent.replies.unknown)
            return Composed(restored, JSON, status, (*headers, unknown))


async def _whole(begun: Begun) -> tuple[Any, int]:
    """An answer that comes at once, whether it says that it failed or not, and its size.

    :raises BackendError: it cannot be restored, or is about our key.
    """
    status, told = begun.answer.status, begun.backend.name
    if status in (401, 403):
        raise BackendError(
            f"{told} refused the gateway's key (status {status})",
            hint="look at api_key in [plugins.redaction.frontier]",
        )
    body = await begun.whole()
    if any(value.rpartition(b" ")[2] in body for _, value in begun.backend.credentials):
        raise BackendError(f"{told} answered with the gateway's key (status {status})")
    if _kind(begun.answer) != JSON or 300 <= status < 400:
        raise BackendError(f"{told} answered with status {status}, and not with JSON")
    try:
        return from_json(body), len(body)
    except ValueError:
        raise BackendError(f"{told} answered with what is not JSON") from None


async def _streamed(begun: Begun, sent: _Sent, stream: Stream) -> AsyncGenerator[bytes, None]:
    """An answer that comes event by event, restored."""
    reader = EventReader()
    async with sent.crossing.watched():
        with closing(begun.answer):
            while piece := await begun.answer.read():
                if said := b"".join(said_for(event, stream) for event in reader.feed(piece)):
                    yield said
            if reader.is_within:
                raise BrokenOff(f"{begun.backend.name} ended its answer within an event")
            if rest := encoded(stream.rest()):
                yield rest
        await sent.ended("200")


def _restored(replies: Replies, value: Any) -> bytes:
    return to_json(replies.restored(value))


async def _off_loop(do: Callable[..., T], *arguments: Any, size: int) -> T:
    """What comes of *do*: in a thread where it works on so many bytes that others would wait."""
    return do(*arguments) if size < LARGE else await asyncio.to_thread(do, *arguments)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value: dict[str, Any] = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise InvalidRequest("the body is not JSON") from None
    return value


def _scope(asked: Asked) -> str | None:
    scope = dict(asked.headers).get(b"x-spark-scope", b"").decode("latin-1")
    return scope or None


def _wants_json(body: Mapping[str, Any]) -> bool:
    """Whether the model is asked to answer with JSON and nothing else."""
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _kind(answer: Connection) -> str:
    """The type of the answer's body; none where it is compressed, which was not asked for."""
    headers = dict(answer.headers)
    if headers.get(b"content-encoding", b"identity") != b"identity":
        return ""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def _heard(answer: Connection) -> list[Header]:
    return [header for header in answer.headers if header[0].startswith(HEARD)]


def _withheld(error: Withheld) -> Composed:
    """What tells in the shape of OpenAI's errors that nothing was sent, and why."""
    told = {
        "message": str(error),
        "type": "invalid_request_error",
        "param": error.problems[0].pointer if error.problems else None,
        "code": "withheld",
        "problems": [{"pointer": p.pointer, "detail": p.detail} for p in error.problems],
    }
    return Composed(to_json({"error": told}), JSON, 422, ((b"x-spark-redaction", b"withheld"),))
