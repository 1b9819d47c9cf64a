"""What our worker takes from gunicorn is private there: this fails where it changes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import types
import weakref
from typing import Any

import gunicorn
import pytest
from gunicorn.asgi.parser import CallbackRequest
from gunicorn.asgi.protocol import ASGIProtocol, BodyReceiver
from gunicorn.config import Config
from gunicorn.workers.gasgi import ASGIWorker
from spark_core_http.worker import Protocol, Worker

pytestmark = pytest.mark.anyio


def test_gunicorn_is_the_one_that_the_worker_was_written_for() -> None:
    """With another one, read its changes to ``gunicorn.asgi`` first."""
    assert gunicorn.__version__ == "27.0.1"


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (ASGIProtocol, "connection_made", ["self", "transport"]),
        (ASGIProtocol, "data_received", ["self", "data"]),
        (ASGIProtocol, "connection_lost", ["self", "exc"]),
        (ASGIProtocol, "_on_headers_complete", ["self"]),
        (ASGIProtocol, "_close_transport", ["self"]),
        (ASGIProtocol, "_safe_write", ["self", "data"]),
        (
            ASGIProtocol,
            "_handle_http_request",
            ["self", "request", "sockname", "peername", "complete"],
        ),
        (ASGIProtocol, "_http1_buffered", ["self"]),
        (ASGIProtocol, "_send_error_response", ["self", "status", "message", "extra_headers"]),
        (ASGIWorker, "init_process", ["self"]),
        (ASGIWorker, "handle_exit_signal", ["self"]),
        (ASGIWorker, "_serve", ["self"]),
        (ASGIWorker, "_shutdown", ["self"]),
        (BodyReceiver, "receive", ["self"]),
        (CallbackRequest, "from_parser", None),
    ],
)
def test_what_is_extended_or_called_has_the_same_shape(
    owner: type, name: str, parameters: list[str] | None
) -> None:
    found = [*inspect.signature(getattr(owner, name)).parameters]
    assert parameters is None or found == parameters


def test_the_parts_that_are_extended_are_used() -> None:
    """The worker makes its protocols by this name, and it is the fast parser that they use."""
    assert "ASGIProtocol(self)" in inspect.getsource(ASGIWorker._serve)
    assert ASGIProtocol._h1c_available
    assert issubclass(Protocol, ASGIProtocol)
    assert issubclass(Worker, ASGIWorker)


class Wire(asyncio.Transport):
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 1), "sockname": ("192.0.2.8", 2)})
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def worker() -> Any:
    """As much of a worker as a connection needs."""
    config = Config()
    config.set("http_parser", "fast")
    config.set("asgi_disconnect_grace_period", 0)
    log = types.SimpleNamespace(
        access_log_enabled=False, debug=lambda *_: None, exception=lambda *_: None
    )
    return types.SimpleNamespace(
        cfg=config, log=log, asgi=app, loop=asyncio.get_running_loop(), nr_conns=0, nr=0,
        max_requests=10**9, alive=True, protocols=set(), state={},
    )  # fmt: skip


async def open_protocol(of: Any) -> tuple[Protocol, Wire]:
    protocol, wire = Protocol(of), Wire()
    protocol.connection_made(wire)
    await asyncio.sleep(0)
    return protocol, wire


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_the_head_has_a_deadline_until_it_is_there() -> None:
    protocol, wire = await open_protocol(worker())
    assert protocol._deadline is not None
    protocol.data_received(GET[:10])
    assert protocol._deadline is not None
    protocol.data_received(GET[10:])
    assert protocol._deadline is None
    protocol.connection_lost(None)
    assert not wire.closed


async def test_a_connection_is_idle_between_requests_only() -> None:
    protocol, wire = await open_protocol(worker())
    assert protocol.idle
    protocol.data_received(GET)
    assert protocol._request_ready.is_set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 200 OK")
    assert protocol.idle
    protocol.connection_lost(None)


async def test_a_closed_connection_is_freed() -> None:
    """The parser in C holds on to what it calls, where the collector cannot look."""
    of = worker()
    protocol, _ = await open_protocol(of)
    protocol.data_received(GET)
    for _ in range(10):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    task, gone = protocol._task, weakref.ref(protocol)
    await asyncio.gather(task, return_exceptions=True)
    del protocol, task
    gc.collect()
    assert gone() is None
    assert of.protocols == set()
    assert of.nr_conns == 0


async def test_an_upload_may_follow_right_behind_an_answer() -> None:
    """Much of it has come by the time that the connection is ready for the next request."""
    protocol, wire = await open_protocol(worker())
    upload = bytes(400_000)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(upload)
    protocol.data_received(GET)
    protocol.data_received(head + upload[:200_000])
    assert wire.reading
    protocol.data_received(upload[200_000:])
    assert not wire.reading  # or more might come than is kept
    for _ in range(20):
        await asyncio.sleep(0)
    assert wire.written.count(b"HTTP/1.1 200 OK") == 2
    assert not wire.closed
    assert wire.reading
    protocol.connection_lost(None)
