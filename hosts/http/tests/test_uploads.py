"""Bodies: what is cut off never passes for the whole, what is too large runs out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

import falcon
import pytest
from pydantic import BaseModel
from spark_core_http import create_app
from spark_core_http.uploads import Upload

from spark_core import Effect, Operation

pytestmark = pytest.mark.anyio

LEFT = {"type": "http.disconnect"}


class Text(BaseModel):
    text: str


REACHED: list[str] = []


async def say(request: Text) -> Text:
    """Say it."""
    REACHED.append(request.text)
    return request


SAY = Operation("say", say, Effect.READ)


class Client:
    """What an ASGI server passes on: the *incoming* events, and what was *sent*."""

    def __init__(self, incoming: Iterable[dict[str, Any]], **headers: str) -> None:
        self._incoming = iter(incoming)
        self.received = 0
        self.sent: list[dict[str, Any]] = []
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._headers = [(name.encode(), value.encode()) for name, value in names.items()]

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        event = next(self._incoming, None)
        if event is None:
            await asyncio.get_running_loop().create_future()
        return event

    async def send(self, event: dict[str, Any]) -> None:
        self.sent.append(event)

    async def post(self, app: Any) -> int:
        """Post to the operation; the status of the answer."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/api/say",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), *self._headers],
            "client": ("192.0.2.7", 1),
            "server": ("127.0.0.1", 9999),
            "scheme": "http",
        }
        await app(scope, self.receive, self.send)
        return self.sent[0]["status"]


def body(*chunks: bytes, more: bool = False) -> list[dict[str, Any]]:
    """*chunks* as events; *more* to come behind the last."""
    events = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    return events if more else [*events, {"type": "http.request", "body": b""}]


@pytest.fixture
def app(make_spark) -> Any:
    REACHED.clear()
    return create_app(spark=make_spark(SAY, toml={"http": {"max_body": 100}}))


async def test_a_body_in_pieces_is_one_body(app) -> None:
    client = Client(body(b'{"te', b'xt": "', b'a"}'))
    assert await client.post(app) == 200
    assert REACHED == ["a"]


@pytest.mark.parametrize("headers", [{}, {"content_length": "30"}])
async def test_a_body_that_is_cut_off_never_reaches_the_operation(app, headers) -> None:
    client = Client([*body(b'{"text": ', b'"a"}', more=True), LEFT], **headers)
    assert await client.post(app) == 408
    assert REACHED == []


async def test_a_client_that_leaves_before_its_body_is_not_answered(app) -> None:
    client = Client([LEFT])
    with pytest.raises(IndexError):
        await client.post(app)
    assert client.sent == REACHED == []


async def test_a_body_that_is_too_large_is_answered_first_and_then_runs_out(app) -> None:
    client = Client(body(*[b"x" * 40] * 10))
    assert await client.post(app) == 413
    assert client.received == 11
    assert REACHED == []


async def test_a_length_that_is_too_large_is_answered_before_the_body_is_read(app) -> None:
    reads = []

    class Slow(Client):
        async def send(self, event: dict[str, Any]) -> None:
            reads.append(self.received)
            await super().send(event)

    client = Slow(body(*[b"x" * 50] * 4), content_length="200")
    assert await client.post(app) == 413
    assert reads[0] == 1  # Falcon's own first look
    assert client.received == 5


async def test_what_runs_out_is_bounded_in_bytes() -> None:
    endless = ({"type": "http.request", "body": b"x", "more_body": True} for _ in itertools.count())
    client = Client(endless)
    await Upload(client.receive).drain(most=1000)
    assert client.received == 1000


async def test_what_runs_out_is_bounded_in_time() -> None:
    client = Client(body(b"x", more=True))
    await Upload(client.receive).drain(seconds=0.001)
    assert client.received == 2


async def test_nothing_is_waited_for_when_the_client_has_left() -> None:
    client = Client([*body(b"x", more=True), LEFT])
    upload = Upload(client.receive)
    await upload.drain()
    await upload.drain()
    assert client.received == 2


async def test_after_its_body_a_client_may_leave() -> None:
    client = Client([*body(b"x"), LEFT])
    upload = Upload(client.receive)
    assert [(await upload.receive())["type"] for _ in range(3)][-1] == "http.disconnect"


async def test_leaving_within_the_body_is_an_error() -> None:
    upload = Upload(Client([*body(b"x", more=True), LEFT]).receive)
    await upload.receive()
    with pytest.raises(falcon.HTTPError, match="408"):
        await upload.receive()
