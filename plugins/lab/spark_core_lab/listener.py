"""A listening port that can be given up and taken again, at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["Listener"]

BACKLOG: Final = 2048
PAUSE: Final = 0.1  #: seconds, where no connection can be accepted


class Listener:
    """Listens at *port* of *host* (0: a free one) from :meth:`open` to :meth:`close`.

    That may be done again and again. In between whoever connects is refused, and the port is
    given to nobody who takes just any free one. ``asyncio.Server`` can only be started by
    waiting, so this accepts connections itself.
    """

    def __init__(self, host: str, port: int, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._host, self.port, self._protocol = host, port, protocol
        self._kept: socket.socket | None = None
        self._listening: socket.socket | None = None
        self._arriving: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        """Listen, unless it does: from here on clients can connect.

        :raises OSError: the port is taken.
        """
        if self._listening is None:
            self._listening = self._bound()
            self._listening.listen(BACKLOG)
            self._watch(self._listening)

    def _bound(self) -> socket.socket:
        bound = _bind(self._host, self.port)
        self.port = bound.getsockname()[1]
        if self._kept is None:
            with suppress(OSError):  # where a system does not allow it, the port may be lost
                self._kept = _bind(self._host, self.port)
        return bound

    def _watch(self, listening: socket.socket) -> None:
        if listening is self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            while True:
                connection, _ = listening.accept()
                self._welcome(connection)
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # too many open files: those who come wait until some were closed
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(PAUSE, self._watch, listening)

    def _welcome(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        arriving = asyncio.create_task(self._connect(connection), name="lab connection")
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def _connect(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._protocol, connection)

    def close(self) -> None:
        """Stop listening, if it does: from here on clients are refused."""
        listening, self._listening = self._listening, None
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    async def aclose(self) -> None:
        """Stop listening for good."""
        self.close()
        await asyncio.gather(*self._arriving, return_exceptions=True)
        if self._kept is not None:
            self._kept.close()


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, error.strerror, f"{host} port {port}") from error
    return bound
