"""Runs the owner of one directory until nobody has asked it anything for a while."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import inspect
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from spark_core.errors import SparkError

from . import wire

log = logging.getLogger("spark_core_qdrant.owner")

#: Seconds between writing out what was stored, and between looks at the clock.
TICK = 1.0

#: How long a new owner waits for one that is just leaving, in seconds.
LOCK_SECONDS = 2.0

SOCKET_FOLDER = "spark-qdrant-"


class Owner:
    """Answers requests over a private socket, one at a time: the engine can do no better."""

    def __init__(self, directory: Path, idle: float) -> None:
        from .edge import EdgeEngine

        self._engine = EdgeEngine(directory)
        self._idle = idle
        self._last_used = time.monotonic()
        self._leaving = asyncio.Event()

    async def serve(self, socket: Path) -> None:
        """Answer until it is time to leave, then write everything out."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leaving.set)
        server = await asyncio.start_unix_server(self._talk, socket)
        try:
            while not self._leaving.is_set():
                self._engine.flush_all()
                await self._tick()
        finally:
            server.close()
            self._engine.close()

    async def _tick(self) -> None:
        try:
            await asyncio.wait_for(self._leaving.wait(), TICK)
        except TimeoutError:
            if time.monotonic() - self._last_used > self._idle:
                self._leaving.set()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self._leaving.is_set():
                request = await wire.read(reader)
                if self._leaving.is_set():
                    break  # unanswered: the client asks the next owner
                self._last_used = time.monotonic()
                await wire.write(writer, await self._answer(*request))
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, operation: str, arguments: dict[str, Any]) -> list[Any]:
        if operation == "retire":
            self._leaving.set()
            return ["ok", None]
        try:
            method = getattr(self._engine, operation)
            assert inspect.iscoroutinefunction(method), operation
            return ["ok", await method(**arguments)]
        except Exception as error:
            if not isinstance(error, SparkError):
                log.error("%s failed: %s", operation, type(error).__name__)
            return wire.error_answer(error)


def _announce(directory: Path, socket: Path) -> Path:
    """Tell others where the socket is; clear away that of an owner that was killed."""
    file = directory / "owner.json"
    if file.exists():
        former = Path(json.loads(file.read_text("utf-8"))["socket"]).parent
        if former.name.startswith(SOCKET_FOLDER):
            shutil.rmtree(former, ignore_errors=True)
    note = {"socket": str(socket), "pid": os.getpid(), "version": version("spark-core-qdrant")}
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(note), "utf-8")
    temporary.replace(file)
    return file


def main() -> int:
    """Own the directory, unless somebody does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--idle", type=float, default=120.0)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    with (directory / "owner.lock").open("w") as lock:
        if not _locked(lock):
            return 0  # somebody else was quicker, which is just as well
        # A folder in the system's temporary one: its path is short enough for a socket
        # however deep the directory lies, and nobody else may enter it.
        home = Path(tempfile.mkdtemp(prefix=SOCKET_FOLDER))
        try:
            asyncio.run(_run(directory, home / "owner.sock", arguments.idle))
        finally:
            shutil.rmtree(home, ignore_errors=True)
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


async def _run(directory: Path, socket: Path, idle: float) -> None:
    owner = Owner(directory, idle)
    file = _announce(directory, socket)
    try:
        await owner.serve(socket)
    finally:
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
