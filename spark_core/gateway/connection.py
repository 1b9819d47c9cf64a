"""One connection to a backend: what is asked there, and what comes of it, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, cast

import httptools

from ..errors import BackendError, TimedOut

if TYPE_CHECKING:
    from .upstream import Upstream

__all__ = ["BrokenOff", "Connection", "Header", "Stale", "nothing"]

Header = tuple[bytes, bytes]

#: Bytes of one answer that are held for a slow reader, and of all answers of one backend
#: together where one is larger: most fit, so that the backend is done with them, and free for
#: others, before their reader is.
HELD_BYTES: Final = 4 * 1024 * 1024
HELD_TOGETHER: Final = 64 * 1024 * 1024

#: Seconds that a slow reader has to take so much while the backend waits for it: less than
#: 70 kB in a second is slower than speech is heard.
TAKE_SECONDS: Final = 60.0

#: Seconds that a backend has to let go of a request that nobody waits for any more.
LET_GO_SECONDS: Final = 1.0

#: Seconds within which a connection that was used before must have been closed without a byte
#: of an answer, for the request to be sent anew: the backend had given the connection up.
STALE_SECONDS: Final = 1.0


class BrokenOff(BackendError):
    """The backend closed the connection before its answer was whole."""


class Stale(BrokenOff):
    """A connection that was used before was closed instead of being used again."""


class Connection(asyncio.Protocol):
    """One connection and, on it, one answer after the other.

    ``status`` and ``headers`` (names in lower case) are those of the present answer;
    ``may_be_kept`` says that another request may follow: an upload is sent on a new connection,
    as it could not be sent again, and none is kept for the next one.
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
        self,
        when_complete: Callable[[], None],
        first_byte_s: float,
        silent_s: float,
        used: bool = False,
    ) -> asyncio.Future[None]:
        """Expect an answer; the future is done when its head is there.

        *when_complete* is called once, when the backend is done with the request, whether its
        answer was read by then or not. Where the connection was *used* before, it may turn out
        to be :class:`Stale`: then it is not called unless this is closed.
        """
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self._keep_alive = False
        self.headers: list[Header] = []
        self.length: int | None = None
        self._left = 0
        self._chunks: list[bytes] = []
        self._take: Callable[[bytes], bool] | None = None
        self._held = 0
        self._complete = self._paused = self._given_up = self.may_be_kept = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._when_complete = when_complete
        self._head: asyncio.Future[None] = self._loop.create_future()
        self._first_byte_s, self._silent_s = first_byte_s, silent_s
        self._heard = self._loop.time()
        self._stale_until = self._heard + STALE_SECONDS if used else 0.0
        self._timer = self._loop.call_later(min(first_byte_s, silent_s), self._check_silence)
        if self._transport is None:
            self._finish(BrokenOff(f"{self._upstream.shown} closed the connection"))
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
            if not await self._more():
                return b""
        return self._gathered()

    async def pour(self, take: Callable[[bytes], bool]) -> bool:
        """Hand what comes of the body to *take* at once, with no task to wake; True at its end.

        Where *take* says that it can take no more for now, False is returned.

        :raises SparkError: as in :meth:`read`.
        """
        while self._chunks:
            if not take(self._gathered()):
                return False
        self._take = take
        try:
            while self._take is not None:
                if not await self._more():
                    return True
            return False
        finally:
            self._take = None

    async def _more(self) -> bool:
        """Wait until something happens; False where the body is over."""
        if self._error is not None:
            raise self._error
        if self._complete:
            return False
        self._waiter = self._loop.create_future()
        await self._waiter
        return True

    def _gathered(self) -> bytes:
        """What has come and was not read yet."""
        chunks, self._chunks = self._chunks, []
        if self._held > HELD_BYTES:
            chunks, self._chunks = _parted(chunks)
        self._held = sum(map(len, self._chunks)) if self._chunks else 0
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
        if self._held:
            self._held, self._chunks = 0, []
        if self._transport is None:
            if self._complete:
                self._done()
        elif not self._complete:
            self._give_up()
        elif self._error is None and self.usable and self._is_reusable():
            self._resume()
            self._upstream.keep(self)
        else:
            self._transport.abort()

    def _is_reusable(self) -> bool:
        """Not where something of the request is left here: it would go before the next one."""
        assert self._transport is not None
        left = self._transport.get_write_buffer_size()
        return self.may_be_kept and self._keep_alive and not left

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

    def end(self) -> None:
        """Close the connection, and count the backend as done right now."""
        self.abort()
        if not self._complete:
            self._finish(BrokenOff(f"the connection to {self._upstream.shown} is closed"))

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._heard = self._loop.time()
            self._transport.resume_reading()

    @property
    def held(self) -> int:
        """Bytes of the answer that nobody has read yet."""
        return self._held

    @property
    def usable(self) -> bool:
        """Whether something can be sent on this connection."""
        return self._transport is not None and not self._transport.is_closing()

    # ------------------------------------------------------------------- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._upstream.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self._transport = None
        self._writable.set()
        self._upstream.forget(self)
        if self._complete:
            return
        until_close = self.length is None and not self._chunked()
        if self.status and until_close and exc is None and not self._given_up:
            self._finish(None)
        else:
            stale = not self._given_up and self._loop.time() < self._stale_until
            kind = Stale if stale else BrokenOff
            self._finish(kind(f"{self._upstream.shown} broke off its answer"))

    def data_received(self, data: bytes) -> None:
        """More of the answer came."""
        if self._given_up:
            return
        if self._complete:
            self.abort()  # nothing was asked
            return
        self._heard = self._loop.time()
        self._stale_until = 0.0
        if self._left:
            self._take_body(data)
        else:
            self._parse(data)
        if self._chunks and (self._take is None or not self._take(self._gathered())):
            self._take = None
            _wake(self._waiter)
        if self._held > HELD_BYTES and not self._paused and not self._upstream.may_hold(self):
            self._pause()

    def _pause(self) -> None:
        """Let the backend wait for the reader, but not for long: others wait for its place."""
        if self._transport is not None and not self._complete:
            self._paused = True
            self._transport.pause_reading()
            self._timer.cancel()
            wait = min(TAKE_SECONDS, self._silent_s)
            self._timer = self._loop.call_later(wait, self._check_silence)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break(BackendError(f"{self._upstream.shown} switched to another protocol"))
        except httptools.HttpParserError:
            if self._complete:
                self.abort()  # what came behind the answer was not asked for
            else:
                self._break(BackendError(f"{self._upstream.shown} sent what is not HTTP"))
        else:
            if self.status and self.length is not None and not self._complete:
                self._left = self.length - self._held

    def _take_body(self, data: bytes) -> None:
        """Where the length is known the parser has no more to say, and would copy everything."""
        if len(data) > self._left:
            data = data[: self._left]
            self.abort()  # what came behind the answer was not asked for
        self._left -= len(data)
        self.on_body(data)
        if not self._left:
            self._finish(None)

    def pause_writing(self) -> None:
        """The backend reads more slowly than it is written to."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    # --------------------------------------------------------------- what the parser calls

    def on_message_begin(self) -> None:
        """An answer begins, or a second one behind it, which nobody asked for."""
        if self._complete:
            raise ValueError("a second answer")

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
            self.length = None
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
        if self._paused:
            limit = min(limit, TAKE_SECONDS)
        left = self._heard + limit - self._loop.time()
        if left > 0:  # and an answer that begins meanwhile may be silent for less
            self._timer = self._loop.call_later(min(left, self._silent_s), self._check_silence)
        elif self._paused:  # or it would keep the backend's place for ever
            self._break(TimedOut(f"nobody took what came of the answer for {limit:g} s"))
        else:
            self._break(TimedOut(f"{self._upstream.shown} was silent for {limit:g} s"))

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
        if not isinstance(error, Stale):
            self._done()

    def _done(self) -> None:
        tell, self._when_complete = self._when_complete, nothing
        tell()

    def _tell(self) -> None:
        if self._error is not None and not self._head.done():
            self._head.set_exception(self._error)
            self._head.exception()  # retrieved: perhaps nobody waits for it any more
        _wake(self._waiter)


def _parted(chunks: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """As many of *chunks* as are handed to a reader at once, and the others."""
    size = count = 0
    while count < len(chunks) and size < HELD_BYTES:
        size += len(chunks[count])
        count += 1
    return chunks[:count], chunks[count:]


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def nothing() -> None:
    """Nobody wants to know."""
