"""The process that owns an embedded index: it comes and goes, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from spark_core_qdrant.embedded import EmbeddedEngine, OwnerClient
from spark_core_qdrant.store import QdrantStore

from spark_core.testing.vectors import point_id

from .processes import (
    SPEC,
    children,
    ended,
    fill,
    kill,
    note,
    output,
    owner_pid,
    owners,
    some_points,
    start_program,
    stop,
    store_in,
    until,
)

pytestmark = pytest.mark.anyio

# ----------------------------------------------------------------------- coming and going


async def test_an_owner_starts_on_demand(store: QdrantStore, directory: Path) -> None:
    """Opening the store starts nothing, the first request does."""
    assert not owners(directory)
    assert await store.collections() == []
    assert owners(directory) == [owner_pid(directory)]


async def test_an_owner_keeps_nothing_of_the_program_that_started_it(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its folder, which could not be unmounted, nor its terminal, nor its open files."""
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "file of the program").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        async with store_in(directory) as store:
            await store.collections()
    process = Path(f"/proc/{owner_pid(directory)}")
    assert process.joinpath("cwd").readlink() == Path("/")
    assert os.getsid(owner_pid(directory)) == owner_pid(directory)
    open_files = {path.readlink() for path in process.joinpath("fd").iterdir()}
    assert Path(file.name) not in open_files
    terminal = process.joinpath("stat").read_text().rpartition(")")[2].split()[4]
    assert terminal == "0"


async def test_the_loop_runs_on_while_an_owner_starts(directory: Path) -> None:
    """Starting a process and waiting for it leaves the event loop free."""
    async with store_in(directory) as store:
        request = asyncio.create_task(store.collections())
        turns = 0
        while not request.done():
            turns += 1
            await asyncio.sleep(0)
        await request
    assert turns > 10


ADD_ONE = """
async def main():
    async with open_embedded(directory, idle=60.0) as engine:
        things = QdrantStore(engine).collection("things")
        print("ready", flush=True)
        sys.stdin.readline()
        await things.upsert([Point(point_id(sys.argv[2]), [1, 0, 0], "gear")])
        print(await things.count({"nothing": None}) > 0)

asyncio.run(main())
"""


async def test_programs_that_start_at_one_moment_share_one_owner(
    store: QdrantStore, directory: Path
) -> None:
    """Eight programs and this one: one owner remains, and everybody is answered."""
    await fill(store, count=1)
    programs = [await start_program(ADD_ONE, str(directory), f"from {n}") for n in range(8)]
    for program in programs:
        assert program.stdout is not None
        assert await program.stdout.readline() == b"ready\n"
    pid = owner_pid(directory)
    os.kill(pid, signal.SIGKILL)
    answers = asyncio.gather(*(output(program, b"go\n") for program in programs))
    assert await store.collection("things").count() >= 1
    assert set(await answers) == {b"True\n"}
    assert await store.collection("things").count() == 9
    await until(lambda: owners(directory) == [owner_pid(directory)])


def in_a_loop_of_its_own(directory: Path, number: int) -> int:
    async def count() -> int:
        async with store_in(directory) as store:
            await store.collection("things").upsert(some_points(number, 1))
            return await store.collection("things").count()

    return asyncio.run(count())


async def test_two_event_loops_of_one_process_share_an_owner(
    filled: QdrantStore, directory: Path
) -> None:
    """A thread with a loop of its own is but another user."""
    kill(directory)
    threads = [asyncio.to_thread(in_a_loop_of_its_own, directory, n) for n in (20, 30)]
    assert max(await asyncio.gather(*threads)) == 12
    await until(lambda: owners(directory) == [owner_pid(directory)])


async def test_sigterm_makes_it_write_everything_and_leave(
    filled: QdrantStore, directory: Path
) -> None:
    """What was stored is there afterwards; the note and the socket are not."""
    home = Path(note(directory)["socket"]).parent
    await stop(directory)
    assert not home.exists()
    assert not (directory / "owner.json").exists()
    assert await filled.collection("things").count() == 10


async def test_it_leaves_when_nobody_asks_and_no_zombie_remains(directory: Path) -> None:
    """After the idle time, everything that it put beside the index is gone."""
    async with store_in(directory, idle=0.1) as store:
        await fill(store)
        pid, home = owner_pid(directory), Path(note(directory)["socket"]).parent
        await until(lambda: not owners(directory) and pid not in children())
        assert not home.exists()
        assert not (directory / "owner.json").exists()
        assert await store.collection("things").count() == 10


async def test_it_leaves_without_a_word_while_programs_are_connected(
    filled: QdrantStore, directory: Path
) -> None:
    """Connections that are open then are no errors: the log tells of failures alone."""
    async with store_in(directory) as other:
        assert await other.collection("things").count() == 10
        await stop(directory)
        assert (directory / "owner.log").read_text() == ""
        assert await filled.collection("things").count() == 10


async def test_an_owner_of_another_version_is_replaced(directory: Path) -> None:
    """Programs are upgraded while an owner of the former version runs."""
    async with store_in(directory) as store:
        await fill(store)
    former = note(directory)
    (directory / "owner.json").write_text(json.dumps({**former, "version": "0.0.1"}))
    async with store_in(directory) as store:
        assert await store.collection("things").count() == 10
        await until(lambda: owners(directory) == [owner_pid(directory)])
    assert note(directory)["pid"] != former["pid"]


# --------------------------------------------------------------------------- sudden deaths


UPSERT = """
async def main():
    async with open_embedded(directory, idle=60.0) as engine:
        things = QdrantStore(engine).collection("things")
        for batch in range(int(sys.argv[2])):
            ids = [point_id(f"{batch}-{n}") for n in range(40)]
            await things.upsert([Point(id, [1, n, 0], "gear") for n, id in enumerate(ids)])
            print(batch, flush=True)

asyncio.run(main())
"""

SEARCH = """
async def main():
    async with open_embedded(directory, idle=60.0) as engine:
        things = QdrantStore(engine).collection("things")
        searches, stopped = 0, asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        while not stopped.done():
            hits = await things.search(Query(vector=[1, 0, 0], text="gear"))
            assert len(hits) == 10 and len({hit.id for hit in hits}) == 10
            searches += 1
        print(searches)

asyncio.run(main())
"""


@pytest.mark.parametrize("batches", [60, pytest.param(2_000, marks=pytest.mark.slow)])
async def test_killed_in_the_middle_of_traffic_it_loses_nothing(
    filled: QdrantStore, directory: Path, batches: int
) -> None:
    """Programs that search and store see no error; each point that was stored is there once."""
    searching = await start_program(SEARCH, str(directory))
    storing = await start_program(UPSERT, str(directory), str(batches))
    assert storing.stdout is not None
    acknowledged = 0
    async for _ in storing.stdout:
        acknowledged += 1
        if acknowledged % 15 == 0:
            await until((directory / "owner.json").exists)
            kill(directory)
    assert await storing.wait() == 0
    assert int(await output(searching, b"stop\n")) > 0
    assert acknowledged == batches
    assert await filled.collection("things").count() == 10 + batches * 40


async def test_killed_while_it_starts_it_is_started_again(directory: Path) -> None:
    """A request outlasts three owners that never came to answer."""
    os.mkdir(directory)
    async with store_in(directory) as store:
        request = asyncio.create_task(store.collections())
        killed: set[int] = set()
        while len(killed) < 3 and not request.done():
            await until(lambda: set(owners(directory)) - killed or request.done())
            for pid in set(owners(directory)) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        assert killed
        assert await request == []


class Interrupted(OwnerClient):
    """A client whose owner dies after it has done what it was asked, once, before it answers."""

    dying = ""

    async def _ask(self, frame: bytes) -> list[Any]:
        answer = await super()._ask(frame)
        if self.dying and self.dying.encode() in frame:
            self.dying = ""
            kill(self._directory)
            raise ConnectionResetError
        return answer


@pytest.mark.parametrize("operation", ["create", "replace", "drop", "upsert", "delete"])
async def test_what_was_done_but_not_answered_is_said_again(
    directory: Path, operation: str
) -> None:
    """The second time it is a success like the first, not a conflict."""
    os.mkdir(directory)
    client = Interrupted(directory, 60.0)
    store = QdrantStore(EmbeddedEngine(client))
    await fill(store)
    await store.create("things__next", SPEC)
    client.dying = operation
    match operation:
        case "create":
            await store.create("others", SPEC)
        case "replace":
            await store.replace("things", by="things__next")
        case "drop":
            await store.drop("things")
        case "upsert":
            await store.collection("things").upsert(some_points(0, 10))
        case "delete":
            await store.collection("things").delete(ids=[point_id("0")])
    assert client.dying == ""
    expected = {
        "create": [("others", 0), ("things", 10), ("things__next", 0)],
        "replace": [("things", 0)],
        "drop": [("things__next", 0)],
        "upsert": [("things", 10), ("things__next", 0)],
        "delete": [("things", 9), ("things__next", 0)],
    }
    found = [(info.name, info.points) for info in await store.collections()]
    assert found == expected[operation]
    client.close()


# ------------------------------------------------------------------------ what lies around


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk \xff",
        b'{"socket": "/tm',
        b"[]",
        b"null",
        b'{"socket": "/nowhere/owner.sock", "pid": 1, "version": "0.1.0", "directory": "%s"}',
        b'{"socket": "%s", "pid": 4194304, "version": "0.1.0", "directory": "%s"}',
    ],
    ids=["empty", "junk", "half", "list", "null", "no socket", "a directory for a socket"],
)
async def test_a_note_of_no_use_is_survived(directory: Path, content: bytes) -> None:
    """Whatever a process left behind when it died, the next owner starts."""
    os.mkdir(directory)
    (directory / "owner.json").write_bytes(content.replace(b"%s", os.fsencode(directory)))
    async with store_in(directory) as store:
        await fill(store)
        assert await store.collection("things").count() == 10


async def test_the_socket_of_a_killed_owner_is_cleared_away(
    filled: QdrantStore, directory: Path
) -> None:
    """By the next one: nothing piles up in the temporary folder."""
    home = Path(note(directory)["socket"]).parent
    kill(directory)
    assert await filled.collection("things").count() == 10
    assert not home.exists()


async def test_a_deleted_directory_is_a_fresh_index(directory: Path) -> None:
    """Also for programs that have it open: the old owner leaves, and harms nothing new."""
    async with store_in(directory) as store, store_in(directory) as other:
        await fill(store)
        former = owner_pid(directory)
        shutil.rmtree(directory)
        assert await store.collections() == []
        await fill(store, count=3)
        assert await other.collection("things").count() == 3
        await ended(former)
        assert owners(directory) == [owner_pid(directory)]
        assert await other.collection("things").count() == 3


async def test_a_copied_directory_is_an_index_of_its_own(
    filled: QdrantStore, directory: Path, tmp_path: Path
) -> None:
    """Even where the original was in use: the note it brings along names another's owner."""
    await filled.collection("things").flush()
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    async with store_in(copy, idle=0.1) as copied:
        await copied.collection("things").delete(ids=[point_id("0")])
        assert await copied.collection("things").count() == 9
    assert await filled.collection("things").count() == 10
    assert os.stat(note(directory)["socket"])


async def test_an_owner_without_its_socket_gives_way(filled: QdrantStore, directory: Path) -> None:
    """Somebody cleans the temporary folder: new programs are answered all the same."""
    shutil.rmtree(Path(note(directory)["socket"]).parent)
    async with store_in(directory) as other:
        assert await other.collection("things").count() == 10


@pytest.mark.parametrize(
    "name", ["x" * 120, "with spaces and ünïcødé 漢字", "-dash", "a\nb", "quote'\"$(x)"]
)
async def test_any_directory_will_do(tmp_path: Path, name: str) -> None:
    """A path may be longer than a socket's, and hold what a shell would trip over."""
    async with store_in(tmp_path / name, idle=0.1) as store:
        await fill(store)
        assert await store.collection("things").count() == 10
        assert len(os.fsencode(note((tmp_path / name).resolve())["socket"])) < 100


async def test_a_long_temporary_folder_is_not_used(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path is short, whatever TMPDIR says."""
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    async with store_in(directory) as store:
        await fill(store)
        assert await store.collection("things").count() == 10


async def test_modules_in_the_working_directory_are_not_taken_for_others(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own argparse.py or signal.py is theirs."""
    for name in ("argparse", "signal", "msgpack"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not what was meant')")
    monkeypatch.chdir(tmp_path)
    async with store_in(directory) as store:
        assert await store.collections() == []
