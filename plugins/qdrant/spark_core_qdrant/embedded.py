"""The embedded engine as its users see it: requests to the process that owns the directory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from spark_core.errors import SettingsError, SparkError, StorageFull, Unavailable

from .engine import (
    Build,
    Engine,
    Filter,
    Found,
    Row,
    Search,
    build_of,
    check_dimension,
    pieces,
)
from .owner import wire
from .owner.note import own_version, read_note

__all__ = ["EmbeddedEngine", "open_embedded"]

#: How long a request waits for an owner that is starting, in seconds.
PATIENCE = 30.0

#: How long to wait for a started owner before another is started, in seconds.
START = 5.0

#: How often a request is said at the most: it may itself be what the owner dies of.
ATTEMPTS = 10

#: How many requests may be under way: the owner answers one at a time anyway.
CONNECTIONS = 16

#: What asking an owner that is gone, or not yet there, may raise.
GONE = (OSError, EOFError)


@asynccontextmanager
async def open_embedded(directory: Path, idle: float) -> AsyncIterator[Engine]:
    """Use the index in *directory*, which is made if need be. No process is started yet."""
    owner = OwnerClient(_made(directory), idle)
    try:
        yield EmbeddedEngine(owner)
    finally:
        owner.close()


def _made(directory: Path) -> Path:
    """*directory*, which exists from now on, by the one name it has."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return directory.resolve()
    except OSError as error:
        raise _unusable(directory, error) from error


def _unusable(directory: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"{directory} cannot hold an index: {error.strerror}",
        hint="choose another [plugins.qdrant] directory",
    )


class EmbeddedEngine:
    """Passes each request on to the owner. See :class:`.engine.Engine`."""

    def __init__(self, owner: OwnerClient) -> None:
        self._owner = owner

    async def collections(self) -> dict[str, Build]:
        """Every collection's build, by name."""
        builds: dict[str, Any] = await self._owner.request("collections")
        return {name: build_of(build) for name, build in builds.items()}

    async def describe(self, name: str) -> Build:
        """One collection's build."""
        return build_of(await self._owner.request("describe", name=name))

    async def create(self, name: str, build: Build) -> None:
        """Make a collection."""
        await self._owner.request("create", name=name, build=build)

    async def drop(self, name: str) -> None:
        """Delete a collection."""
        await self._owner.request("drop", name=name)

    async def replace(self, name: str, by: str, generation: str) -> None:
        """Switch a collection."""
        await self._owner.request("replace", name=name, by=by, generation=generation)

    async def upsert(self, name: str, rows: list[Row]) -> None:
        """Store points, in pieces that keep the owner busy for a few milliseconds only."""
        check_dimension(await self.describe(name), (row[1] for row in rows))
        for piece in pieces(rows):
            await self._owner.request("upsert", name=name, rows=piece)

    async def delete(self, name: str, ids: list[str], filter: Filter) -> None:
        """Delete points."""
        await self._owner.request("delete", name=name, ids=ids, filter=filter)

    async def search(self, name: str, search: Search) -> list[Found]:
        """The best hits."""
        found: list[Found] = await self._owner.request("search", name=name, search=search)
        return found

    async def scroll(self, name: str, filter: Filter, after: str | None, limit: int) -> list[Found]:
        """Points by id."""
        found: list[Found] = await self._owner.request(
            "scroll", name=name, filter=filter, after=after, limit=limit
        )
        return found

    async def count(self, name: str, filter: Filter) -> int:
        """How many points match."""
        count: int = await self._owner.request("count", name=name, filter=filter)
        return count

    async def flush(self, name: str) -> None:
        """Write a collection out."""
        await self._owner.request("flush", name=name)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class OwnerClient:
    """Finds the directory's owner, starts one where there is none, and asks it things.

    A request whose connection breaks is said again to the next owner: the engine's requests
    can all be said twice. A connection carries one request at a time; a caller that gives up
    takes its connection along.
    """

    def __init__(self, directory: Path, idle: float) -> None:
        self._directory = directory
        self._idle = idle
        self._free: list[Connection] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._starting = asyncio.Lock()
        self._failure: SparkError | None = None  # of the latest start that failed,
        self._failed = 0.0  # and when that was

    def close(self) -> None:
        """Hang up."""
        for _, writer in self._free:
            writer.close()
        self._free.clear()

    async def request(self, operation: str, **arguments: Any) -> Any:
        """The owner's answer.

        :raises Unavailable: there is no owner, and none could be started.
        """
        frame = wire.packed([operation, arguments])
        async with self._turns:
            return wire.result_of(await self._answer(frame))

    async def _answer(self, frame: bytes) -> list[Any]:
        deadline = _now() + PATIENCE
        for _ in range(ATTEMPTS):
            with suppress(*GONE):
                return await self._ask(frame)
            if _now() > deadline:
                break
            await self._start(deadline)
        raise Unavailable(
            f"the index in {self._directory} does not answer: its process keeps dying",
            hint=f"see {self._directory / 'owner.log'}",
        )

    async def _ask(self, frame: bytes) -> list[Any]:
        connection = self._free.pop() if self._free else await self._connect()
        reader, writer = connection
        try:
            await wire.write(writer, frame)
            answer: list[Any] = await wire.read(reader)
        except BaseException:
            writer.close()
            raise
        self._free.append(connection)
        return answer

    async def _connect(self) -> Connection:
        note = read_note(self._directory)
        try:
            connection = await asyncio.open_unix_connection(note.socket)
        except PermissionError as error:
            raise SettingsError(
                f"the index in {self._directory} is in use by another user",
                hint="run both programs as one user, or each with an index of its own",
            ) from error
        if note.version != own_version():
            await self._retire(connection)
        return connection

    async def _retire(self, connection: Connection) -> None:
        """Ask an owner of another version to leave: the next one is of ours."""
        reader, writer = connection
        try:
            await wire.write(writer, wire.packed(["retire", {}]))
            await wire.read(reader)
        finally:
            writer.close()
        raise ConnectionError("the owner was of another version")

    async def _start(self, deadline: float) -> None:
        """Start an owner, unless one answers by now, and wait until it does."""
        self.close()  # what is left of the connections leads to the owner that is gone
        asked = _now()
        async with self._starting:
            if self._failure and self._failed > asked:  # while this request waited for its turn
                raise self._failure
            if not await self._answers():
                said = _log_size(self._directory)
                await self._answering(_spawn(self._directory, self._idle), said, deadline)

    async def _answering(
        self, process: subprocess.Popen[bytes], said: int, deadline: float
    ) -> None:
        """Wait until the owner answers, or *process* is known not to become it.

        ``said`` is how much stood in the log before it was started.
        """
        until = min(deadline, _now() + START)
        while _now() < until and not await self._answers():
            await asyncio.sleep(0.01)
            if (code := process.poll()) is not None:
                if code > 0:  # else it was killed, or somebody else's was quicker
                    self._failure, self._failed = _failure(self._directory, said), _now()
                    raise self._failure
                return

    async def _answers(self) -> bool:
        with suppress(*GONE):
            self._free.append(await self._connect())
            return True
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()


def _spawn(directory: Path, idle: float) -> subprocess.Popen[bytes]:
    """Start an owner that outlives this process. It leaves at once if there is another."""
    # -P: a module of the same name in the working directory is not what is meant.
    module = [sys.executable, "-P", "-m", "spark_core_qdrant.owner"]
    log = _log(directory)
    try:
        process = subprocess.Popen(
            [*module, str(directory), "--idle", str(idle)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the program, not for the index
        )
    except OSError as error:
        raise Unavailable(f"the process of the index cannot start: {error.strerror}") from error
    finally:
        os.close(log)
    # Whoever starts a process must wait for it, or its remains stay in the process table.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def _log(directory: Path) -> int:
    """A descriptor of the owner's log, in the directory, which may have been deleted meanwhile."""
    try:
        _made(directory)
        return os.open(directory / "owner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise _unusable(directory, error) from error


def _log_size(directory: Path) -> int:
    """How long the owner's log is, in bytes."""
    with suppress(OSError):
        return (directory / "owner.log").stat().st_size
    return 0


def _failure(directory: Path, said: int) -> SparkError:
    """Why an owner could not start; *said* is how long the log was before."""
    if os.statvfs(directory).f_bavail == 0:
        return StorageFull(
            f"there is no room at all in {directory}, not even to search the index there",
            hint="free some space",
        )
    return Unavailable(
        f"the index in {directory} cannot be opened: {_last_words(directory, said)}",
        hint=f"see {directory / 'owner.log'}",
    )


def _last_words(directory: Path, said: int) -> str:
    """The last line of the owner's log behind what others had *said*: what it died of."""
    with suppress(OSError, IndexError), (directory / "owner.log").open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(said, log.tell() - 2000))
        return log.read().decode(errors="replace").strip().splitlines()[-1]
    return "no reason is known"
