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
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
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


#: Seconds that an answer may be silent, where it is not said.
SILENT_SECONDS: Final = 600.0

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
        self._given_up = self._paused = False
        self.idle_since = 0.0

    # ------------------------------------------------------------------------- one exchange

    def begin(
        self, when_complete: Callable[[], None], first_byte_s: float, silent_s: float
    ) -> asyncio.Future[None]:
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
        self._head: asyncio.Future[None] = self._loop.create_future()
        self._first_byte_s, self._silent_s = first_byte_s, silent_s
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(first_byte_s, self._check_silence)
        return self._head

    def send(self, data: bytes) -> None:
        """Write to the backend."""
        if self._transport is not None:
            self._transport.write(data)

    async def send_body(self, body: AsyncIterable[bytes], chunked: bool) -> None:
        """Write *body* as it comes, no faster than the backend reads."""
        async for piece in body:
            if not self.usable:
                return  # the answer, or its failure, tells why
            self.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            self._heard = self._loop.time()
            await self._writable.wait()
        if chunked:
            self.send(b"0\r\n\r\n")

    async def read(self) -> bytes:
        """What has come of the body since the last time; ``b""`` at its end.

        :raises BrokenOff: it will never be whole.
        :raises TimedOut: the backend fell silent.
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

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, as it comes."""
        while piece := await self.read():
            yield piece

    def close(self) -> None:
        """Done with this answer: the connection is used again, or closed if more would come.

        A backend that is not done yet is told to stop.
        """
        if self._transport is None:
            return
        if not self._complete:
            self._give_up()
        elif self._error is None and self.was_sent and self._keep_alive and self.usable:
            self._resume()
            self._upstream.keep(self)
        else:
            self._transport.abort()

    def _give_up(self) -> None:
        """Tell the backend to stop; it is done when it has closed its side, or after a while."""
        if self._given_up or self._transport is None:
            return
        self._given_up = True
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._loop.call_later(LET_GO_SECONDS, self.abort)
        else:
            self._transport.abort()

    def abort(self) -> None:
        """Close the connection, whatever goes on there."""
        if self._transport is not None:
            self._transport.abort()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._heard = self._loop.time()
            self._transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Whether something can be sent on this connection."""
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
        until_close = self.length is None and not self._chunked()
        whole = self.status and until_close and exc is None and not self._given_up
        self._finish(None if whole else BrokenOff(f"{self._upstream.shown} broke off its answer"))

    def data_received(self, data: bytes) -> None:
        """More of the answer came."""
        if self._given_up:
            return
        if self._complete:
            self.abort()  # nothing was asked
            return
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break(BackendError(f"{self._upstream.shown} switched to another protocol"))
        except httptools.HttpParserError:
            self._break(BackendError(f"{self._upstream.shown} sent what is not HTTP"))
        if self._chunks:
            _wake(self._waiter)
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
            self.headers.clear()
            return
        self.status = status
        self._keep_alive = self._parser.should_keep_alive()
        _wake(self._head)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._chunks.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.status:
            self._finish(None)

    # -------------------------------------------------------------------------------- ends

    def _chunked(self) -> bool:
        return any(n == b"transfer-encoding" and b"chunked" in v for n, v in self.headers)

    def _check_silence(self) -> None:
        """One timer for each answer, which is set anew where something was heard since."""
        limit = self._silent_s if self.status else self._first_byte_s
        left = self._heard + limit - self._loop.time()
        if self._paused or left > 0:  # whose reader is slow is not silent
            self._timer = self._loop.call_later(max(left, 1.0), self._check_silence)
        else:
            self._break(TimedOut(f"{self._upstream.shown} was silent for {limit:.0f} s"))

    def _break(self, error: Exception) -> None:
        """Tell the reader of *error*, and the backend to stop."""
        self._error = self._error or error
        self._tell()
        self._give_up()

    def _finish(self, error: Exception | None) -> None:
        """The backend is done, one way or the other."""
        self._complete = True
        self._error = self._error or error
        self._timer.cancel()
        self._tell()
        self._when_complete()

    def _tell(self) -> None:
        if self._error is not None and not self._head.done():
            self._head.set_exception(self._error)
            self._head.exception()  # retrieved: perhaps nobody waits for it any more
        _wake(self._waiter)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


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
        first_byte_s: float,
        silent_s: float = SILENT_SECONDS,
        when_complete: Callable[[], None] = _nothing,
    ) -> Connection:
        """Send a request and wait for the head of its answer, which must begin in time.

        *headers* are sent as they are, without ``host`` and with what frames the body. Close
        the answer when done with it. *when_complete* is called once, whatever happens, as soon
        as the backend is done with the request. An answer that began may be silent for
        *silent_s* seconds.

        :raises Refused: no connection came about.
        :raises TimedOut: there was no answer in time.
        :raises BrokenOff: the connection was closed before there was one.
        """
        try:
            connection = self._reuse() or await self._connect()
        except BaseException:
            when_complete()
            raise
        head = connection.begin(when_complete, first_byte_s, silent_s)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        start = b"%b %b%b HTTP/1.1\r\n%b%b\r\n" % (
            method, self._prefix, target, self._host_header, lines,
        )  # fmt: skip
        try:
            if isinstance(body, bytes):
                connection.send(start + body if body else start)
                connection.was_sent = True
                await head
            else:
                connection.send(start)
                await self._send_and_wait(connection, body, headers, head)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _send_and_wait(
        self,
        connection: Connection,
        body: AsyncIterable[bytes],
        headers: Sequence[Header],
        head: asyncio.Future[None],
    ) -> None:
        """An answer may come before the body was sent: then the rest is not."""
        chunked = any(name == b"transfer-encoding" for name, _ in headers)
        sending = asyncio.ensure_future(connection.send_body(body, chunked))
        try:
            await asyncio.wait([sending, head], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                connection.was_sent = True
            await head
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
