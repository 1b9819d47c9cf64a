"""The process that owns an embedded index: it comes and goes, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from spark_core_qdrant.embedded import EmbeddedEngine, OwnerClient, open_embedded
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import CollectionSpec, Mode, Point, Query
from spark_core.errors import BackendError, SettingsError, Unavailable
from spark_core.testing.vectors import point_id

from .processes import (
    PATIENCE,
    children,
    note,
    output,
    owner_pid,
    owners,
    start_program,
    until,
)

pytestmark = pytest.mark.anyio

SPEC = CollectionSpec(dimension=3, embedder="by hand", average_length=4.0)


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Path]:
    """Where the index lies; no owner outlives the test."""
    directory = tmp_path / "index"
    yield directory
    for pid in owners(directory):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not owners(directory))


@asynccontextmanager
async def store_in(directory: Path, idle: float = 60.0) -> AsyncIterator[QdrantStore]:
    async with open_embedded(directory, idle=idle) as engine:
        yield QdrantStore(engine)


def some_points(first: int, count: int) -> list[Point]:
    return [Point(point_id(str(n)), [1, n, 0], f"gear {n}") for n in range(first, first + count)]


async def fill(store: QdrantStore, count: int = 10) -> None:
    await store.create("things", SPEC)
    await store.collection("things").upsert(some_points(0, count))


def kill(directory: Path) -> None:
    os.kill(owner_pid(directory), signal.SIGKILL)


# ----------------------------------------------------------------------- coming and going


async def test_an_owner_starts_on_demand(directory: Path) -> None:
    """Opening the store starts nothing, the first request does."""
    async with store_in(directory) as store:
        assert not owners(directory)
        assert await store.collections() == []
        assert owners(directory) == [owner_pid(directory)]


async def test_the_loop_runs_on_while_an_owner_starts(directory: Path) -> None:
    """Starting a process and waiting for it leaves the event loop free."""
    async with store_in(directory) as store:
        request = asyncio.create_task(store.collections())
        turns = 0
        while not request.done():
            turns += 1
            await asyncio.sleep(0.001)
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


async def test_programs_that_start_at_one_moment_share_one_owner(directory: Path) -> None:
    """Eight programs and this one: one owner remains, and everybody is answered."""
    async with store_in(directory) as store:
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


async def test_two_event_loops_of_one_process_share_an_owner(directory: Path) -> None:
    """A thread with a loop of its own is but another user."""
    async with store_in(directory) as store:
        await fill(store)
        kill(directory)
        threads = [asyncio.to_thread(in_a_loop_of_its_own, directory, n) for n in (20, 30)]
        assert max(await asyncio.gather(*threads)) == 12
        await until(lambda: owners(directory) == [owner_pid(directory)])


async def test_sigterm_makes_it_write_everything_and_leave(directory: Path) -> None:
    """What was stored is there afterwards; the note and the socket are not."""
    async with store_in(directory) as store:
        await fill(store)
        home = Path(note(directory)["socket"]).parent
        os.kill(owner_pid(directory), signal.SIGTERM)
        await until(lambda: not owners(directory))
        assert not home.exists()
        assert not (directory / "owner.json").exists()
        assert await store.collection("things").count() == 10


async def test_it_leaves_when_nobody_asks_and_no_zombie_remains(directory: Path) -> None:
    """After the idle time, everything that it put beside the index is gone."""
    async with store_in(directory, idle=0.1) as store:
        await fill(store)
        pid, home = owner_pid(directory), Path(note(directory)["socket"]).parent
        await until(lambda: not owners(directory) and pid not in children())
        assert not home.exists()
        assert not (directory / "owner.json").exists()
        assert await store.collection("things").count() == 10


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
            ids = [f"{batch}-{n}" for n in range(40)]
            await things.upsert([Point(point_id(id), [1, n, 0], "gear") for n, id in enumerate(ids)])
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


async def test_killed_in_the_middle_of_traffic_it_loses_nothing(directory: Path) -> None:
    """Programs that search and store see no error; each point that was stored is there once."""
    async with store_in(directory) as store:
        await fill(store)
        searching = await start_program(SEARCH, str(directory))
        storing = await start_program(UPSERT, str(directory), "60")
        assert storing.stdout is not None
        acknowledged = 0
        async for _ in storing.stdout:
            acknowledged += 1
            if acknowledged % 15 == 0:
                await until((directory / "owner.json").exists)
                kill(directory)
        assert await storing.wait() == 0
        assert int(await output(searching, b"stop\n")) > 0
        assert acknowledged == 60
        assert await store.collection("things").count() == 10 + 60 * 40


async def test_killed_while_it_starts_it_is_started_again(directory: Path) -> None:
    """A request outlasts three owners that never came to answer."""
    directory.mkdir()
    async with store_in(directory) as store:
        request = asyncio.create_task(store.collections())
        for _ in range(3):
            await until(lambda: owners(directory))
            for pid in owners(directory):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: not owners(directory) or request.done())
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
    directory.mkdir()
    client = Interrupted(directory.resolve(), 60.0)
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
    directory.mkdir()
    (directory / "owner.json").write_bytes(content.replace(b"%s", os.fsencode(directory)))
    async with store_in(directory) as store:
        await fill(store)
        assert await store.collection("things").count() == 10


async def test_the_socket_of_a_killed_owner_is_cleared_away(directory: Path) -> None:
    """By the next one: nothing piles up in the temporary folder."""
    async with store_in(directory) as store:
        await fill(store)
        home = Path(note(directory)["socket"]).parent
        kill(directory)
        assert await store.collection("things").count() == 10
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
        await until(lambda: former not in owners(directory))
        assert owners(directory) == [owner_pid(directory)]
        assert await other.collection("things").count() == 3


async def test_a_copied_directory_is_an_index_of_its_own(directory: Path, tmp_path: Path) -> None:
    """Even where the original was in use: the note it brings along names another's owner."""
    async with store_in(directory) as store:
        await fill(store)
        await store.collection("things").flush()
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        async with store_in(copy, idle=0.1) as copied:
            await copied.collection("things").delete(ids=[point_id("0")])
            assert await copied.collection("things").count() == 9
        assert await store.collection("things").count() == 10
        assert Path(note(directory)["socket"]).exists()


async def test_an_owner_without_its_socket_gives_way(directory: Path) -> None:
    """Somebody cleans the temporary folder: new programs are answered all the same."""
    async with store_in(directory) as store:
        await fill(store)
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


# --------------------------------------------------------------------------- what is wrong


async def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "index"):
        with pytest.raises(SettingsError, match="file"):
            async with store_in(path):
                pass


async def test_a_directory_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    """As a user who may not write there."""
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(SettingsError, match="Permission denied"):
            async with store_in(tmp_path) as store:
                await store.collections()
        return
    source = """
import os
from spark_core.errors import SettingsError

async def main():
    async with open_embedded(directory, idle=1.0) as engine:
        await QdrantStore(engine).collections()

import spark_core_qdrant.owner.note, subprocess, threading
os.setuid(65534)
try:
    asyncio.run(main())
except SettingsError as error:
    print(error)
"""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    for parent in closed.parents[:3]:
        parent.chmod(0o755)
    said = (await output(await start_program(source, str(closed)))).decode()
    assert str(closed) in said
    assert "Permission denied" in said


async def test_a_damaged_catalog_is_named_and_nothing_is_deleted(directory: Path) -> None:
    """Neither started over and over, nor taken for an empty index."""
    async with store_in(directory) as store:
        await fill(store)
        os.kill(owner_pid(directory), signal.SIGTERM)
        await until(lambda: not owners(directory))
        whole = (directory / "catalog.json").read_bytes()
        for damaged in (b"", whole[:-20], b"[]", b'{"things": {}}', b'{"things": 1}', b"\xff"):
            (directory / "catalog.json").write_bytes(damaged)
            with pytest.raises(Unavailable, match=r"catalog\.json"):
                await store.collections()
        (directory / "catalog.json").write_bytes(whole)
        assert await store.collection("things").count() == 10


async def test_an_owner_that_cannot_start_says_why(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request of the moment fails at once, with the reason and the log's path."""
    (tmp_path / "qdrant_edge.py").write_text("raise ImportError('no such library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with store_in(directory) as store:
        requests = [store.collections() for _ in range(10)]
        failures = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(failure) for failure in failures} == {Unavailable}
        assert all("no such library" in str(failure) for failure in failures)
        assert all(str(directory / "owner.log") in str(failure) for failure in failures)
        assert (directory / "owner.log").read_text().count("Traceback") < 5
        monkeypatch.undo()
        assert await store.collections() == []


async def test_a_panic_of_the_engine_is_an_error_of_one_request(directory: Path) -> None:
    """Not a broken connection, after which the request would be said again and again."""
    nested: dict[str, Any] = {}
    for _ in range(200):
        nested = {"deeper": nested}
    async with open_embedded(directory, idle=60.0) as engine:
        store = QdrantStore(engine)
        await fill(store)
        packed = struct.pack("3f", 1, 0, 0)
        await engine.upsert("things", [(point_id("deep"), packed, "gear", nested)])  # unchecked
        pid = owner_pid(directory)
        with pytest.raises(BackendError):
            await store.collection("things").count({"kind": "note"})
        await store.drop("things")
        assert owner_pid(directory) == pid


# ---------------------------------------------------------------------------- conversation


async def test_answers_are_never_mixed_up(directory: Path) -> None:
    """Many questions at once, a third of them given up at any moment: each gets its answer."""
    chance = random.Random(1)
    async with store_in(directory) as store:
        await store.create("things", SPEC)
        things = store.collection("things")
        await things.upsert(
            [Point(point_id(str(n)), [1, 0, 0], f"gear {n}", {"n": n}) for n in range(50)]
        )

        async def ask(number: int) -> None:
            await asyncio.sleep(chance.random() / 20)
            for hit in await things.scroll(filter={"n": number}):
                assert hit.text == f"gear {number}"

        questions = [asyncio.create_task(ask(number % 50)) for number in range(400)]
        while not all(question.done() for question in questions):
            await asyncio.sleep(chance.random() / 200)
            chance.choice(questions).cancel()
        answers = await asyncio.gather(*questions, return_exceptions=True)
        assert {type(answer) for answer in answers} <= {type(None), asyncio.CancelledError}
        assert None in answers
        assert await things.count() == 50


async def test_a_batch_of_20_mb_is_stored(directory: Path) -> None:
    """In pieces, and one text of 8 MB in one piece."""
    async with store_in(directory) as store:
        await store.create("things", SPEC)
        things = store.collection("things")
        texts = ["gear " * 20_000] * 120 + ["x" * 8_000_000]
        points = [Point(point_id(str(n)), [1, 0, 0], text) for n, text in enumerate(texts)]
        await things.upsert(points)
        assert await things.count() == 121
        lengths = [len(hit.text) for hit in await things.scroll(limit=200)]
        assert sorted(lengths) == sorted(map(len, texts))


async def test_a_bad_point_far_behind_in_a_batch_stores_nothing(directory: Path) -> None:
    """The pieces of a batch are checked before the first is stored."""
    async with store_in(directory) as store:
        await store.create("things", SPEC)
        bad = Point(point_id("bad"), [1, 0], "gear")
        with pytest.raises(Exception, match="3 numbers"):
            await store.collection("things").upsert([*some_points(0, 500), bad])
        assert await store.collection("things").count() == 0


def say(directory: Path, said: bytes) -> bytes:
    """Say something to the owner, hang up, and return what it answers."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE)
        line.connect(note(directory)["socket"])
        line.sendall(said)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while part := line.recv(65536):
            answer += part
        return answer


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff" + b"x" * 1000,
        struct.pack(">I", 1000) + b"half",
        struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1",
        struct.pack(">I", 1) + b"\xc0",
        struct.pack(">I", 3) + b"\x92\x01\x02",
        struct.pack(">I", 4) + b"\xa3abc",
    ],
    ids=["nothing", "two", "http", "huge", "half", "junk", "null", "numbers", "text"],
)
async def test_nonsense_on_the_socket_is_hung_up_on(directory: Path, said: bytes) -> None:
    """And hurts nobody else."""
    async with store_in(directory) as store:
        await fill(store)
        pid = owner_pid(directory)
        assert await asyncio.to_thread(say, directory, said) == b""
        assert await store.collection("things").count() == 10
        assert owner_pid(directory) == pid
    assert "Traceback" not in (directory / "owner.log").read_text()


@pytest.mark.parametrize("operation", ["_check_room", "close", "__init__", "nonsense"])
async def test_only_the_engines_requests_are_answered(directory: Path, operation: str) -> None:
    """Whatever else the engine's object has is not reached over the socket."""
    async with store_in(directory):
        client = OwnerClient(directory.resolve(), 60.0)
        with pytest.raises(BackendError):
            await client.request(operation)
        client.close()


async def test_searches_are_answered_during_large_changes(directory: Path) -> None:
    """Storing, making and switching collections lets searches through."""
    async with store_in(directory) as store, store_in(directory) as other:
        await fill(store)

        async def rebuild() -> None:
            for build in range(3):
                await store.create("things__next", SPEC)
                await store.collection("things__next").upsert(some_points(0, 2000))
                await store.replace("things", by="things__next")
                assert await store.collection("things").count() == 2000, build

        rebuilding, searches = asyncio.create_task(rebuild()), 0
        while not rebuilding.done():
            hits = await other.collection("things").search(Query(vector=[1, 0, 0], text="gear"))
            assert len(hits) == 10
            searches += 1
        await rebuilding
        assert searches > 10


async def test_many_requests_at_once_are_all_answered(directory: Path) -> None:
    """More than the socket has places in its queue."""
    async with store_in(directory) as store:
        await fill(store)
        stores = [open_embedded(directory, idle=60.0) for _ in range(20)]
        async with asyncio.TaskGroup() as group:
            for opening in stores:
                group.create_task(ask_often(opening))


async def ask_often(opening: Any) -> None:
    async with opening as engine:
        things = QdrantStore(engine).collection("things")
        counts: Sequence[int] = await asyncio.gather(*(things.count() for _ in range(30)))
        assert set(counts) == {10}


# --------------------------------------------------------------------------------- privacy


async def test_nobody_else_may_look(directory: Path) -> None:
    """The directory, what lies in it and the socket are this user's alone."""
    former = os.umask(0o022)
    try:
        async with store_in(directory) as store:
            await fill(store)
            await store.collection("things").flush()
    finally:
        os.umask(former)
    home = Path(note(directory)["socket"]).parent
    found = [directory, *directory.iterdir(), *directory.rglob("*"), home, *home.iterdir()]
    assert {path.name for path in found} >= {"owner.json", "owner.log", "catalog.json"}
    assert [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


async def test_texts_never_reach_the_log(directory: Path) -> None:
    """Whatever goes wrong with them."""
    secret = "Zdeňka Nováková"
    async with open_embedded(directory, idle=60.0) as engine:
        store = QdrantStore(engine)
        await fill(store)
        packed = struct.pack("3f", 1, 0, 0)
        for row in (
            ("no uuid " + secret, packed, secret, {}),
            (point_id("0"), packed, secret, {secret: float("nan")}),
            (point_id("0"), packed, [secret], {"list": secret}),
        ):
            with pytest.raises((BackendError, SettingsError, Exception)) as raised:
                await engine.upsert("things", [row])  # type: ignore[list-item]
            assert secret not in str(raised.value)
        with pytest.raises(BackendError):
            await engine.count("things", {"a.b": {secret: 1}})
    assert secret not in (directory / "owner.log").read_text()


# ------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 500 MB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
