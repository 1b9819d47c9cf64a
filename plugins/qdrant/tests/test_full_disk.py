"""A disk that fills up: what was acknowledged is kept, and the error says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spark_core.contracts.vectors import Point, Query
from spark_core.errors import StorageFull
from spark_core.testing.vectors import point_id

from .processes import SPEC, fill, kill, owner_pid, some_points, stop, store_in

pytestmark = [pytest.mark.anyio, pytest.mark.privileged]  # mounting is


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 500 MB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill_up(disk: Path, leave: int) -> None:
    """Somebody else's file takes all but *leave* bytes."""
    with (disk / "somebody's file").open("ab", buffering=0) as file, suppress(OSError):
        while (rest := free(disk) - leave) > 0:
            file.write(bytes(min(rest, 2**20)))


async def test_a_disk_that_fills_up_keeps_what_was_acknowledged(small_disk: Path) -> None:
    """Batches of one piece are stored or refused; nothing is lost when the owner is killed."""
    directory = small_disk / "index"
    async with store_in(directory) as store:
        await fill(store)
        things, stored = store.collection("things"), 10
        fill_up(small_disk, leave=132 * 2**20)
        with suppress(StorageFull):
            for batch in range(1000):
                ids = [point_id(f"{batch}-{n}") for n in range(100)]
                await things.upsert([Point(id, [1, 0, 0], "word " * 500) for id in ids])
                stored += 100
        assert stored < 100_000
        assert await things.count() == stored
        kill(directory)
        assert await things.count() == stored
        await stop(directory)


async def test_a_disk_without_any_room_can_still_be_searched(small_disk: Path) -> None:
    """Whatever would write is refused; with some room again all goes on."""
    directory = small_disk / "index"
    async with store_in(directory) as store:
        await fill(store)
        things, pid = store.collection("things"), owner_pid(directory)
        fill_up(small_disk, leave=0)
        for writing in (
            things.upsert(some_points(10, 1)),
            things.delete(ids=[point_id("0")]),
            store.create("others", SPEC),
            store.replace("others", by="things"),
            store.drop("things"),
        ):
            with pytest.raises(StorageFull):
                await writing
        assert len(await things.search(Query(vector=[1, 0, 0], text="gear"))) == 10
        assert owner_pid(directory) == pid
        kill(directory)
        with pytest.raises(StorageFull):
            await things.count()
        (small_disk / "somebody's file").unlink()
        await things.upsert(some_points(10, 1))
        assert await things.count() == 11
        await stop(directory)


async def test_a_write_that_might_not_fit_is_never_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine would die of it: it maps its files into memory."""
    from spark_core_qdrant.owner.edge import RESERVE, EdgeEngine

    engine = EdgeEngine(tmp_path)
    full: Any = SimpleNamespace(f_bavail=RESERVE - 1, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(StorageFull):
        await engine.create("things", build(SPEC.dimension))
    assert os.listdir(tmp_path) == []
    engine.close()


def build(dimension: int) -> Any:
    return {
        "generation": "0" * 32,
        "created_at": "2026-01-01T00:00:00+00:00",
        "dimension": dimension,
        "embedder": "by hand",
        "average_length": 4.0,
        "indexed": [],
        "language": "english",
    }
