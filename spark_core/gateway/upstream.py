"""HTTP/1.1 to backends on the relay's hot path: little is done for each request.

Everything else asks backends through :mod:`spark_core.http_client`; what this costs beside it
is measured in ``docs/explanation/speed.md``. Names are looked up as IPv4 where there is one,
and remembered for half a minute, so that a slow name server is not asked for each connection.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from ..errors import SettingsError, Unavailable
from .connection import HELD_TOGETHER, Connection, Header, Stale, nothing

__all__ = ["HERE", "Exhausted", "Refused", "Upstream"]

Body = bytes | AsyncIterable[bytes]

CONNECT_SECONDS: Final = 5.0

#: Seconds until a backend that has connections, and refuses another one, is tried once more.
BACKLOG_SECONDS: Final = 0.05

#: Seconds an unused connection is kept: less than servers keep theirs, which is often 5.
KEEP_SECONDS: Final = 4.0

#: Seconds the address of a name is remembered.
NAME_SECONDS: Final = 30.0

#: Seconds that an answer may be silent, where it is not said.
SILENT_SECONDS: Final = 600.0

#: What goes wrong on this machine when it opens a connection, whatever the other one does.
HERE: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)


class Refused(Unavailable):
    """No connection came about, so nothing was sent: it is safe to try again."""


class Exhausted(Unavailable):
    """This machine cannot open another connection: that says nothing of any backend."""


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
        self._holding: set[Connection] = set()
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
        when_complete: Callable[[], None] = nothing,
    ) -> Connection:
        """Send a request and wait for the head of its answer, which must begin in time.

        *headers* are sent as they are, without ``host`` and with what frames the body. Close
        the answer when done with it. *when_complete* is called once, whatever happens, as soon
        as the backend is done with the request. An answer that began may be silent for
        *silent_s* seconds.

        :raises Refused: no connection came about.
        :raises Exhausted: this machine cannot open another one.
        :raises TimedOut: there was no answer in time.
        :raises BrokenOff: the connection was closed before there was one.
        """
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        start = b"%b %b%b HTTP/1.1\r\n%b%b\r\n" % (
            method, self._prefix, target, self._host_header, lines,
        )  # fmt: skip
        if isinstance(body, bytes) and (used := self._reuse()) is not None:
            head = used.begin(when_complete, first_byte_s, silent_s, used=True)
            try:
                return await self._exchange(used, head, start, body)
            except Stale:
                pass
        try:
            connection = await self._connect()
        except BaseException:
            when_complete()
            raise
        head = connection.begin(when_complete, first_byte_s, silent_s)
        if isinstance(body, bytes):
            return await self._exchange(connection, head, start, body)
        chunked = any(name == b"transfer-encoding" for name, _ in headers)
        return await self._upload(connection, head, start, body, chunked)

    async def _exchange(
        self, connection: Connection, head: asyncio.Future[None], start: bytes, body: bytes
    ) -> Connection:
        connection.send(start + body if body else start)
        connection.may_be_kept = True
        try:
            await head
        except Stale:
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    async def _upload(
        self,
        connection: Connection,
        head: asyncio.Future[None],
        start: bytes,
        body: AsyncIterable[bytes],
        chunked: bool,
    ) -> Connection:
        """An answer may come before the body was sent: then the rest is not."""
        connection.send(start)
        sending = asyncio.ensure_future(connection.send_body(body, chunked))
        try:
            try:
                await asyncio.wait([sending, head], return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
                await head
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        except BaseException:
            connection.close()
            raise
        return connection

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

    def made(self, connection: Connection) -> None:
        """*connection* is open."""
        self._open.add(connection)

    def forget(self, connection: Connection) -> None:
        """*connection* is closed."""
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                try:
                    return await self._try_connecting(loop)
                except ConnectionRefusedError:
                    if not self._open:
                        raise
                    # It is there, and refuses because too many came at once.
                    await asyncio.sleep(BACKLOG_SECONDS)
                    return await self._try_connecting(loop)
        except TimeoutError:
            raise Refused(f"{self.shown} cannot be reached: no connection in time") from None
        except UnicodeError:
            raise Refused(f"{self.shown} cannot be reached: no host can have that name") from None
        except OSError as error:
            self._address = None
            if error.errno in HERE:
                raise Exhausted(f"no connection can be opened: {_why(error)}") from None
            raise Refused(f"{self.shown} cannot be reached: {_why(error)}") from None

    async def _try_connecting(self, loop: asyncio.AbstractEventLoop) -> Connection:
        host = await self._resolve(loop)
        name = self._host if self._tls else None
        _, connection = await loop.create_connection(
            lambda: Connection(self), host, self._port, ssl=self._tls, server_hostname=name
        )
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

    def may_hold(self, connection: Connection) -> bool:
        """Whether *connection* can hold more of an answer that is large already."""
        self._holding = {connection, *(other for other in self._holding if other.held)}
        return sum(holder.held for holder in self._holding) < HELD_TOGETHER

    def close(self) -> None:
        """Close every connection; what waits for an answer is done with at once."""
        for connection in [*self._open]:
            connection.end()
        self._idle.clear()


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
