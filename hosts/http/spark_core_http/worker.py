"""Gunicorn's own ASGI worker, with what it lacks.

It gives clients for ever to send a head, frees no connection that its C parser served, and
waits for idle connections when it stops. What is used of it here is private to gunicorn, which
is why its version is pinned: ``tests/test_worker.py`` fails if it changes.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from gunicorn.asgi.protocol import ASGIProtocol  # type: ignore[import-untyped]
from gunicorn.workers import gasgi  # type: ignore[import-untyped]

from .forwarding import CutOff
from .problems import PROBLEM_JSON, parser_problem

__all__ = ["Protocol", "Worker"]

#: Seconds that a client has to send a request's head, from its first byte on.
HEAD_SECONDS: Final = 10.0

#: Bytes of the next request that are kept until the answer before it is done: a client that
#: sends one upload right after the other is far ahead, and beyond gunicorn's 64 KiB it was cut
#: off. Reading pauses at 256 KiB, which may come twice over in one piece.
AHEAD_BYTES: Final = 1024 * 1024

#: What tells a worker to stop.
STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})

# Found on the base: what a subclass finds out, it would look for in the wrong place.
ASGIProtocol._check_h1c_protocol_available()
ASGIProtocol._h1c_protocol_class = partial(
    ASGIProtocol._h1c_protocol_class, limit_remaining=AHEAD_BYTES
)


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """A connection."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client a while to send its first head."""
        super().connection_made(transport)
        self.worker.protocols.add(self)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Give the client a while for the rest of a head that came in part."""
        super().data_received(data)
        if self._deadline is None and not self._closed and not self._request_ready.is_set():
            self._arm()

    def _http1_buffered(self) -> int:
        """Count what came behind the request, too, so that reading pauses where it is much."""
        ahead = self._callback_parser.remaining() if self._callback_parser is not None else b""
        return int(super()._http1_buffered()) + len(ahead)

    def _on_headers_complete(self) -> Any:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        return super()._on_headers_complete()

    async def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> Any:
        """Answer in the connection's own task.

        Gunicorn makes a task of each request, for apps that go on working behind their answers.
        Ours do not, and the task was a twentieth of what a small request costs.
        """
        try:
            return await self._handle_http_request(request, sockname, peername)
        except CutOff:
            if request.version < (1, 1):  # there, an answer ends with its connection
                self._reset()
            return False

    def _reset(self) -> None:
        """Break the connection off, so that its client sees that something is missing."""
        with suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self.transport.abort()
        self._closed = True  # or gunicorn would end it in order, in the moment that this takes

    def _send_error_response(
        self, status: int, message: str, extra_headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Tell what is wrong where no request could be read, as both shapes of errors do."""
        body = parser_problem(status, message)
        headers = (("Content-Type", PROBLEM_JSON), *extra_headers)
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        head += [f"{name}: {value}" for name, value in headers]
        head += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self._safe_write("\r\n".join(head).encode("latin-1") + body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._deadline is not None:
            self._deadline.cancel()
        self.worker.protocols.discard(self)
        super().connection_lost(exc)
        # The C parser holds methods of this object, and the collector cannot see into it.
        self._callback_parser = None

    def _arm(self) -> None:
        self._deadline = self.worker.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self._send_error_response(408, "The request's head did not come in time")
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, and let the task that waits for its next request see it."""
        self._close_transport()
        self._request_ready.set()

    @property
    def idle(self) -> bool:
        """Whether it waits for a request and answers none."""
        return bool(self._awaiting_request) and not self._finishing_calls


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """A worker process."""

    def init_process(self) -> None:
        """Use our connections. A signal waits until the loop runs: before, uvloop would lose it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        self.protocols: set[Protocol] = set()
        self._serving: asyncio.Task[None] | None = None
        gasgi.ASGIProtocol = Protocol
        super().init_process()

    async def _serve(self) -> None:
        self._serving = asyncio.current_task()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        await super()._serve()

    def handle_exit_signal(self) -> None:
        """Stop now, and not at the next turn of a loop that sleeps for a second.

        The signal may come twice: a service manager sends it to every process of a service,
        and the master sends it on. The second one must not break off the first one's waiting.
        """
        stops = self.alive and bool(self.servers)
        super().handle_exit_signal()
        if stops and self._serving is not None:
            self._serving.cancel()

    async def _shutdown(self) -> None:
        assert self._serving is not None
        self._serving.uncancel()
        for server in self.servers:
            server.close()
        for protocol in [*self.protocols]:
            if protocol.idle:
                protocol.hang_up()
        await super()._shutdown()
