"""The embedded engine under strain: what is wrong, what is hostile, what is private."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import stat
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from spark_core_qdrant.embedded import OwnerClient, open_embedded
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import Point, Query
from spark_core.errors import BackendError, InvalidRequest, SettingsError, Unavailable
from spark_core.testing.vectors import point_id

from .processes import (
    PATIENCE,
    SPEC,
    fill,
    note,
    output,
    owner_pid,
    some_points,
    start_program,
    stop,
    store_in,
)

pytestmark = pytest.mark.anyio


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
        os.chmod(tmp_path, 0o500)
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


async def test_a_damaged_catalog_is_named_and_nothing_is_deleted(
    filled: QdrantStore, directory: Path
) -> None:
    """Neither started over and over, nor taken for an empty index."""
    await stop(directory)
    whole = (directory / "catalog.json").read_bytes()
    for damaged in (b"", whole[:-20], b"[]", b'{"things": {}}', b'{"things": 1}', b"\xff"):
        (directory / "catalog.json").write_bytes(damaged)
        with pytest.raises(Unavailable, match=r"catalog\.json"):
            await filled.collections()
    (directory / "catalog.json").write_bytes(whole)
    assert await filled.collection("things").count() == 10


async def test_what_a_former_owner_said_is_no_reason(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the log only what was written since the start tells why it failed."""
    (tmp_path / "qdrant_edge.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    os.mkdir(directory)
    (directory / "owner.log").write_text("what the former one said\n")
    async with store_in(directory) as store:
        with pytest.raises(Unavailable, match="no reason is known"):
            await store.collections()


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


async def test_a_batch_of_20_mb_is_stored(store: QdrantStore) -> None:
    """In pieces, and one text of 8 MB in one piece."""
    await store.create("things", SPEC)
    things = store.collection("things")
    texts = ["gear " * 20_000] * 120 + ["x" * 8_000_000]
    points = [Point(point_id(str(n)), [1, 0, 0], text) for n, text in enumerate(texts)]
    await things.upsert(points)
    assert await things.count() == 121
    lengths = [len(hit.text) for hit in await things.scroll(limit=200)]
    assert sorted(lengths) == sorted(map(len, texts))


async def test_a_bad_point_far_behind_in_a_batch_stores_nothing(store: QdrantStore) -> None:
    """The pieces of a batch are checked before the first is stored."""
    await store.create("things", SPEC)
    bad = Point(point_id("bad"), [1, 0], "gear")
    with pytest.raises(InvalidRequest, match="3 numbers"):
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
        client = OwnerClient(directory, 60.0)
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


async def test_many_requests_at_once_are_all_answered(filled: QdrantStore, directory: Path) -> None:
    """More than the socket has places in its queue."""
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
    found = [*everything(directory), *everything(home)]
    assert {path.name for path in found} >= {"owner.json", "owner.log", "catalog.json"}
    assert [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def everything(folder: Path) -> list[Path]:
    """The folder itself, and all below it."""
    return [folder, *folder.rglob("*")]


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
            with pytest.raises(BackendError) as raised:
                await engine.upsert("things", [row])  # type: ignore[list-item]
            assert secret not in str(raised.value)
    assert secret not in (directory / "owner.log").read_text()
