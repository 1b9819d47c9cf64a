"""What tests do with owner processes: find them, wait for them, write programs that use them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import CollectionSpec, Point
from spark_core.testing.vectors import point_id

#: How long to wait for what must come, in seconds: far longer than it ever takes.
PATIENCE = 60.0


def note(directory: Path) -> dict[str, str]:
    """What the owner of *directory* says of itself."""
    found: dict[str, str] = json.loads((directory / "owner.json").read_text())
    return found


def owner_pid(directory: Path) -> int:
    """The process that owns *directory*."""
    return int(note(directory)["pid"])


def owners(directory: Path) -> list[int]:
    """Every process that was started to own *directory* and still runs, zombies included."""
    wanted = [b"spark_core_qdrant.owner", os.fsencode(directory)]
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _runs(pid, wanted)]


def _runs(pid: str, wanted: list[bytes]) -> bool:
    try:
        return all(part in Path(f"/proc/{pid}/cmdline").read_bytes() for part in wanted)
    except OSError:
        return False


def children() -> list[int]:
    """The children of this process, those that are zombies included."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition*, of files and processes of others, holds.

    It is looked at again and again: that another process has started, has written a file or was
    waited for by its own parent is no event here.
    """
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (see above)
            await asyncio.sleep(0.02)


async def ended(pid: int) -> None:
    """Wait until the process has ended: what stands for it becomes readable then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await readable.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def stop(directory: Path) -> None:
    """Let whoever owns *directory* leave, and wait until it has."""
    for pid in owners(directory):
        with suppress(ProcessLookupError):  # it may leave by itself
            os.kill(pid, signal.SIGTERM)
        await ended(pid)


async def start_program(source: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a Python program that reads from and writes to us."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM + source, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def output(program: asyncio.subprocess.Process, said: bytes = b"") -> bytes:
    """What *program* writes until it ends, which must be well."""
    async with asyncio.timeout(PATIENCE):
        written, _ = await program.communicate(said)
    assert program.returncode == 0
    return written


#: What every such program begins with.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from spark_core.contracts.vectors import CollectionSpec, Mode, Point, Query
from spark_core.testing.vectors import point_id
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.store import QdrantStore

directory = Path(sys.argv[1])
"""


SPEC = CollectionSpec(dimension=3, embedder="by hand", average_length=4.0)


@asynccontextmanager
async def store_in(directory: Path, idle: float = 60.0) -> AsyncIterator[QdrantStore]:
    """A store on the embedded engine."""
    async with open_embedded(directory, idle=idle) as engine:
        yield QdrantStore(engine)


@asynccontextmanager
async def emptied_store(directory: Path, language: str = "english") -> AsyncIterator[QdrantStore]:
    """A store on the embedded engine that leaves no collection behind."""
    async with open_embedded(directory, idle=10.0) as engine:
        yield QdrantStore(engine, language)
        for name in await engine.collections():
            await engine.drop(name)


def some_points(first: int, count: int) -> list[Point]:
    """Points that all say "gear"."""
    return [Point(point_id(str(n)), [1, n, 0], f"gear {n}") for n in range(first, first + count)]


async def fill(store: QdrantStore, count: int = 10) -> None:
    """Make a collection "things" of *count* points."""
    await store.create("things", SPEC)
    await store.collection("things").upsert(some_points(0, count))


def kill(directory: Path) -> None:
    """Let the owner die without a chance to do anything."""
    os.kill(owner_pid(directory), signal.SIGKILL)
