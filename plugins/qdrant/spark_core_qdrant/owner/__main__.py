"""Runs the owner of one directory until nobody has asked it anything for a while."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import inspect
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

from spark_core.errors import SparkError

from . import wire
from .folder import private_folder
from .note import Note, file_in, write_note

log = logging.getLogger("spark_core_qdrant.owner")

#: Seconds between writing out what was stored, and between looks at the clock.
TICK = 1.0

#: How long nobody has asked anything when word counts are set right, in seconds.
QUIET = 5.0

#: Seconds a thread runs while another waits. By Python's own 5 ms a deep search would starve: a
#: thread that lets go of the lock by itself before they are over, as one that answers short
#: requests does, has it back before the other wakes up.
TURN = 0.001

#: How long a new owner waits for one that is just leaving, in seconds.
LOCK_SECONDS = 2.0

#: How many programs may be waiting for their connection.
BACKLOG = 1024


class Owner:
    """Answers requests over a private socket.

    One at a time, but for deep searches: the engine can do no better.
    """

    def __init__(self, directory: Path, idle: float) -> None:
        from .edge import EdgeEngine

        self._directory = directory
        self._engine = EdgeEngine(directory)
        self._idle = idle
        self._last_used = time.monotonic()
        self._leaving = asyncio.Event()
        self._talks: set[asyncio.Task[None]] = set()

    async def serve(self, socket: Path) -> None:
        """Answer until it is time to leave, then write everything out."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leaving.set)
        server = await asyncio.start_unix_server(self._accept, socket, backlog=BACKLOG)
        self._socket = socket
        self._note = write_note(self._directory, Note.mine(self._directory, socket))
        try:
            while not self._leaving.is_set():
                self._tidy()
                await self._tick()
        finally:
            server.close()
            await self._hang_up()
            self._leave()

    def _tidy(self) -> None:
        try:
            self._engine.flush_all()
            self._engine.recount(quiet=self._idle_for() > QUIET)
        except Exception as error:  # a full disk, say: all of it is in the engine's log too
            log.error("tidying up failed: %s", type(error).__name__)

    def _idle_for(self) -> float:
        """Seconds since somebody asked something."""
        return time.monotonic() - self._last_used

    async def _tick(self) -> None:
        try:
            await asyncio.wait_for(self._leaving.wait(), TICK)
        except TimeoutError:
            if self._idle_for() > self._idle or not (self._is_mine() and self._socket.exists()):
                self._leaving.set()

    def _is_mine(self) -> bool:
        """Whether the directory is still this owner's; one that was deleted is nobody's."""
        try:
            return os.path.samestat(file_in(self._directory).stat(), self._note)
        except OSError:
            return False

    def _leave(self) -> None:
        if self._is_mine():  # else what is written would end up in somebody else's index
            self._engine.close()
            file_in(self._directory).unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk in a task of our own: the server logs it as a failure that one of its is ended."""
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _hang_up(self) -> None:
        """End every connection; who waits for an answer asks the next owner."""
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await wire.read(reader)
                if self._leaving.is_set() or not self._is_mine():
                    self._leaving.set()
                    break  # unanswered: the client asks the next owner
                self._last_used = time.monotonic()
                await wire.write(writer, await self._answer(request))
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Any) -> bytes:
        match request:
            case ["retire", _]:
                self._leaving.set()
                return wire.packed(["ok", None])
            case [str() as operation, dict() as arguments]:
                return await self._done(operation, arguments)
            case _:
                raise ConnectionError("that is no request")

    async def _done(self, operation: str, arguments: dict[str, Any]) -> bytes:
        try:
            method = getattr(self._engine, operation)
            assert inspect.iscoroutinefunction(method), operation
            return wire.packed(["ok", await method(**arguments)])
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in the engine is no Exception
            if not isinstance(error, SparkError):
                log.error("%s failed: %s", operation, type(error).__name__)
            return wire.packed(wire.error_answer(error))


def main() -> int:
    """Own the directory, unless somebody does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--idle", type=float, default=120.0)
    arguments = parser.parse_args()
    directory: Path = arguments.directory.resolve()
    sys.setswitchinterval(TURN)
    os.chdir("/")  # the starter's folder may have to be unmounted while the owner stays
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o077)  # what lies here is for this user alone
    with (directory / "owner.lock").open("w") as lock:
        if not _locked(lock):
            return 0  # somebody else was quicker, which is just as well
        try:
            with private_folder() as home:
                asyncio.run(Owner(directory, arguments.idle).serve(home / "owner.sock"))
        except SparkError as error:
            sys.exit(str(error))
    return 0


def _locked(lock: IO[str]) -> bool:
    """Lock the directory for as long as this process lives; wait for one that is leaving."""
    until = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < until:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
