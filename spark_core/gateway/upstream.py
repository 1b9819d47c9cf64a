"""HTTP/1.1 to backends on the relay's hot path: little is done for each request.

Everything else asks backends through :mod:`spark_core.http_client`; what this costs beside it
is measured in ``docs/explanation/speed.md``. Names are looked up as IPv4 where there is one,
and remembered for half a minute, so that a slow name server is not asked for each connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from ..errors import BackendError, SettingsError, TimedOut, Unavailable

__all__ = ["BrokenOff", "Connection", "Header", "Refused", "Upstream"]

Header = tuple[bytes, bytes]
Body = bytes | AsyncIterable[bytes]

CONNECT_SECONDS: Final = 5.0

#: Seconds an unused connection is kept: less than servers keep theirs, which is often 5.
KEEP_SECONDS: Final = 4.0

#: Seconds the address of a name is remembered.
NAME_SECONDS: Final = 30.0

#: Bytes of one answer that are held for a slow reader: most answers fit, so that the backend
#: is done with them, and free for others, before their reader is.
HELD_BYTES: Final = 4 * 1024 * 1024


#: Seconds that a backend has to let go of a request that nobody waits for any more.
LET_GO_SECONDS: Final = 1.0


class Refused(Unavailable):
    """No connection came about, so nothing was sent: it is safe to try again."""


class BrokenOff(BackendError):
    """The backend closed the connection before its answer was whole."""


class Connection(asyncio.Protocol):
    """One connection and, on it, one answer after the other.

    ``status`` and ``headers`` (names in lower case) are those of the present answer;
    ``was_sent`` says that the backend has the whole request.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._complete = True
        self._head: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        self._given_up = self._paused = False

    # ------------------------------------------------------------------------- one exchange

    def begin(self, when_complete: Callable[[], None]) -> asyncio.Future[None]:
        """Expect an answer; the future is done when its head is there.

        *when_complete* is called once, when the backend is done with the request, whether its
        answer was read by then or not.
        """
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self._keep_alive = False
        self.headers: list[Header] = []
        self.length: int | None = None
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._complete = self._paused = self._given_up = self.was_sent = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._when_complete = when_complete
        self._head = self._loop.create_future()
        return self._head

    def send(self, data: bytes) -> None:
        """Write to the backend."""
        assert self._transport is not None
        self._transport.write(data)

    async def send_body(self, body: AsyncIterable[bytes], chunked: bool) -> None:
        """Write *body* as it comes, no faster than the backend reads."""
        async for piece in body:
            if not piece:
                continue
            if self._transport is None or self._transport.is_closing():
                return  # the answer, or its failure, tells why
            self.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await self._writable.wait()
        if chunked and self._transport is not None:
            self.send(b"0\r\n\r\n")

    async def read(self) -> bytes:
        """What has come of the body since the last time; ``b""`` at its end.

        :raises BrokenOff: it will never be whole.
        :raises BackendError: it is no HTTP.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._complete:
                return b""
            self._waiter = self._loop.create_future()
            await self._waiter
        chunks, self._chunks = self._chunks, deque()
        self._held = 0
        if self._paused:
            self._resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @property
    def complete(self) -> bool:
        """Whether the backend has sent all it will: it may be busy with something else."""
        return self._complete

    def close(self) -> None:
        """Done with this answer: the connection is used again, or closed if more would come.

        A backend that is not done yet is told to stop, and ``when_complete`` is called when it
        has let go of the connection, up to :data:`LET_GO_SECONDS`.
        """
        if self._transport is None:
            return
        whole = self._complete and self._error is None and self.was_sent
        if whole and self._keep_alive and self.usable:
            self._resume()
            self._upstream.keep(self)
        elif self._complete or not self._transport.can_write_eof():
            self._transport.abort()
        else:
            self._given_up = True
            self._resume()
            self._transport.write_eof()
            self._loop.call_later(LET_GO_SECONDS, self.abort)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the connection, whatever goes on there."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def usable(self) -> bool:
        """Whether another request can be sent on this connection."""
        return self._transport is not None and not self._transport.is_closing()

    # ------------------------------------------------------------------- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self._transport = None
        self._writable.set()
        self._upstream.forget(self)
        if self._complete:
            return
        if self._given_up:
            self._fail(BrokenOff("nobody waits for this answer"))
            return
        until_close = self.length is None and not self._chunked()
        if self.status and until_close and exc is None:
            self._finish()
        else:
            self._fail(BrokenOff(f"{self._upstream.shown} broke off its answer"))

    def data_received(self, data: bytes) -> None:
        """More of the answer came."""
        if self._given_up:
            return
        if self._complete:
            self.abort()  # nothing was asked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._broken("switched to another protocol")
        except httptools.HttpParserError:
            self._broken("sent what is not HTTP")
        if self._waiter is not None and not self._waiter.done() and self._chunks:
            self._waiter.set_result(None)
        if self._held > HELD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The backend reads more slowly than it is written to."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    # --------------------------------------------------------------- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        name = name.lower()
        if name == b"content-length":
            self.length = int(value) if value.isdigit() else None
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole; that of a 1xx announces another."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()  # more will come
            return
        self.status = status
        self._keep_alive = self._parser.should_keep_alive()
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._chunks.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.status:
            self._finish()

    # -------------------------------------------------------------------------------- ends

    def _chunked(self) -> bool:
        return any(n == b"transfer-encoding" and b"chunked" in v for n, v in self.headers)

    def _finish(self) -> None:
        self._complete = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._when_complete()

    def _fail(self, error: Exception) -> None:
        self._complete = True
        self._error = error
        for future in (self._head, self._waiter):
            if future is not None and not future.done():
                if future is self._head:
                    future.set_exception(error)
                    future.exception()  # retrieved: nobody may wait for it any more
                else:
                    future.set_result(None)
        self._when_complete()

    def _broken(self, how: str) -> None:
        self._fail(BackendError(f"{self._upstream.shown} {how}"))
        self.abort()


def _nothing() -> None:
    """Nobody wants to know."""


class Upstream:
    """One backend's server, and the connections to it.

    :raises SettingsError: *url* is not one of a web server.
    """

    def __init__(self, url: str, *, verify: bool = True) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("a backend's url must be like http://host:port")
        self._tls = _tls(verify) if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/").encode()
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._host_header = b"host: " + parts.netloc.rpartition("@")[2].encode() + b"\r\n"
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._address: tuple[float, str] | None = None

    async def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        body: Body = b"",
        *,
        timeout_s: float,
        when_complete: Callable[[], None] = _nothing,
    ) -> Connection:
        """Send a request and wait up to *timeout_s* seconds for the head of its answer.

        *headers* are sent as they are, without ``host`` and with what frames the body. Close
        the answer when done with it. *when_complete* is called once, whatever happens, as soon
        as the backend is done with the request.

        :raises Refused: no connection came about.
        :raises TimedOut: there was no answer in time.
        :raises BrokenOff: the connection was closed before there was one.
        """
        try:
            connection = self._reuse() or await self._connect()
        except BaseException:
            when_complete()
            raise
        head = connection.begin(when_complete)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        start = b"%b %b%b HTTP/1.1\r\n%b%b\r\n" % (
            method, self._prefix, target, self._host_header, lines,
        )  # fmt: skip
        try:
            if isinstance(body, bytes):
                connection.send(start + body if body else start)
                connection.was_sent = True
                await self._await_head(head, timeout_s)
            else:
                connection.send(start)
                await self._send_and_wait(connection, body, headers, head, timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _await_head(self, head: asyncio.Future[None], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await head
        except TimeoutError:
            raise TimedOut(f"{self.shown} did not answer within {timeout_s:.0f} s") from None

    async def _send_and_wait(
        self,
        connection: Connection,
        body: AsyncIterable[bytes],
        headers: Sequence[Header],
        head: asyncio.Future[None],
        timeout_s: float,
    ) -> None:
        """An answer may come before the body was sent: then the rest is not."""
        chunked = any(name == b"transfer-encoding" for name, _ in headers)
        sending = asyncio.ensure_future(connection.send_body(body, chunked))
        try:
            await asyncio.wait([sending, head], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                connection.was_sent = True
            await self._await_head(head, timeout_s)
        finally:
            if not sending.done():
                sending.cancel()
                with suppress(asyncio.CancelledError):
                    await sending

    # --------------------------------------------------------------------------- connections

    def _reuse(self) -> Connection | None:
        """The connection that was used last, if it is not too old."""
        oldest = time.monotonic() - KEEP_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def keep(self, connection: Connection) -> None:
        """Use *connection* again, and let go of one that was not used for long."""
        connection.idle_since = now = time.monotonic()
        self._idle.append(connection)
        if self._idle[0].idle_since < now - KEEP_SECONDS:
            self._idle.pop(0).abort()

    def forget(self, connection: Connection) -> None:
        """*connection* is closed."""
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                host = await self._resolve(loop)
                name = self._host if self._tls else None
                _, connection = await loop.create_connection(
                    lambda: Connection(self), host, self._port, ssl=self._tls, server_hostname=name
                )
        except TimeoutError:
            raise Refused(f"{self.shown} cannot be reached: no connection in time") from None
        except OSError as error:
            self._address = None
            raise Refused(f"{self.shown} cannot be reached: {_why(error)}") from None
        self._open.add(connection)
        return connection

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> str:
        if self._address is None or self._address[0] < time.monotonic():
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            found.sort(key=lambda info: info[0] != socket.AF_INET)
            self._address = (time.monotonic() + NAME_SECONDS, str(found[0][4][0]))
        return self._address[1]

    @property
    def connections(self) -> int:
        """How many connections are open, used or not."""
        return len(self._open)

    def close(self) -> None:
        """Close every connection."""
        for connection in [*self._open]:
            connection.abort()
        self._idle.clear()


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
