"""A relay of which a plugin answers every request itself: nothing is passed on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from spark_core_http import create_app

from spark_core import BackendKind, Composition, Relay
from spark_core.errors import BackendError, InvalidRequest
from spark_core.gateway.compositions import Asked, Composed
from spark_core.gateway.connection import Header
from spark_core.gateway.sections import BackendsSection

pytestmark = pytest.mark.anyio

RELAY = Relay("guarded", "POST", "/v1/guarded")
KIND = BackendKind("guard", BackendsSection, (RELAY,))


def offers(answer: Any) -> dict[str, Any]:
    return {"backends": [KIND], "compositions": [Composition(RELAY, None, answer)]}


async def echo(asked: Asked) -> Composed:
    told = dict(asked.headers)[b"x-spark-scope"]
    return Composed(asked.body, "application/json", 202, ((b"x-told", told),))


async def run(
    make_spark: Any, answer: Any, body: bytes = b"{}", *headers: Header, until: int = 10**6
) -> list[dict[str, Any]]:
    """The events that are sent, until the client leaves after so many."""
    app = create_app(spark=make_spark(**offers(answer)))
    sent: list[dict[str, Any]] = []
    enough = asyncio.Event()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)
        if len(sent) == until:
            enough.set()
            await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "POST", "path": "/v1/guarded", "query_string": b"",
        "headers": [(b"host", b"falconframework.org"), *headers], "client": ("127.0.0.1", 1),
        "raw_path": b"/v1/guarded",
    }  # fmt: skip
    task = asyncio.create_task(app(scope, receive, send))
    if until < 10**6:
        await enough.wait()
        task.cancel()
    await asyncio.wait([task])
    return sent


def error(sent: list[dict[str, Any]]) -> tuple[int, str]:
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]["message"]


async def test_it_gets_the_body_and_the_headers_and_says_status_and_headers(make_spark):
    start, end = await run(make_spark, echo, b'{"a": 1}', (b"x-spark-scope", b"s"))
    assert (start["status"], dict(start["headers"])[b"x-told"]) == (202, b"s")
    assert end["body"] == b'{"a": 1}'


@pytest.mark.parametrize("request_", [(b"[",), (b"{}", (b"content-encoding", b"gzip"))])
async def test_what_is_no_plain_json_is_refused_before_it(make_spark, request_):
    async def never(asked: Asked) -> Composed:
        raise AssertionError

    status, message = error(await run(make_spark, never, *request_))
    assert status == 400
    assert "body" in message


async def test_what_it_raises_is_answered_in_the_shape_of_openai(make_spark):
    async def refuses(asked: Asked) -> Composed:
        raise InvalidRequest("not this")

    assert error(await run(make_spark, refuses)) == (400, "not this")


async def test_an_unexpected_error_is_told_and_logged_without_its_text(make_spark, caplog):
    async def fails(asked: Asked) -> Composed:
        raise RuntimeError("private")

    status, message = error(await run(make_spark, fails))
    assert status == 500
    assert "private" not in message + caplog.text


class Pieces:
    """A body that is generated; ``closed`` tells that it was closed."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces, self._error = pieces, error
        self.closed = asyncio.Event()

    async def __call__(self, asked: Asked) -> Composed:
        return Composed(self._generated(), "text/event-stream")

    async def _generated(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                yield piece
            if self._error:
                raise self._error
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def test_pieces_are_sent_as_they_come(make_spark):
    pieces = Pieces(b"a", b"b")
    sent = await run(make_spark, pieces.__call__, until=3)
    assert [event.get("body") for event in sent] == [None, b"a", b"b"]


@pytest.mark.parametrize("until", [1, 2, 3])
async def test_a_body_is_closed_when_its_caller_leaves(make_spark, until):
    pieces = Pieces(b"a", b"b")
    await run(make_spark, pieces.__call__, until=until)
    assert pieces.closed.is_set()


async def test_one_that_fails_before_its_first_piece_has_a_status(make_spark):
    sent = await run(make_spark, Pieces(error=BackendError("gone")).__call__)
    assert sent[0]["status"] == 502


async def test_one_that_fails_later_is_broken_off_without_a_clean_end(make_spark, caplog):
    sent = await run(make_spark, Pieces(b"a", error=RuntimeError("private")).__call__)
    assert [event.get("more_body") for event in sent] == [None, True]
    assert "private" not in caplog.text
