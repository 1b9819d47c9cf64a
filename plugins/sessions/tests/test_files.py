"""Session files as they come: none of what stands in them is lost, and none is done twice."""

from __future__ import annotations

import json
import os
import shutil
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_sessions import files
from spark_core_sessions.files import prepare, scan
from spark_core_sessions.states import FileState, SessionStates

from spark_core.contracts.sessions import SessionChanged, SessionFile, _lines_backwards
from spark_core.testing.sessions import session_file

from .conftest import NotIsolated

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_this_process")]


async def test_e12_an_append_while_a_file_is_read_is_never_missed(run, folder, monkeypatch):
    """What is written between the look at a file and the mark is new to the next run."""
    folder.write("ada/a.jsonl", {"n": 1})
    process = NotIsolated.process

    async def appending(self, session, limit_s):
        items = await process(self, session, limit_s)
        folder.append("ada/a.jsonl", {"n": 2})
        return items

    with monkeypatch.context() as patch:
        patch.setattr(NotIsolated, "process", appending)
        assert (await run()).details.items_extracted == 1
    assert (await run()).details.items_extracted == 1
    assert folder.numbers() == [1, 2]


async def test_e12_an_append_with_the_time_put_back_is_not_missed(run, folder):
    """No time decides: not even where file and clock are of another opinion."""
    file = folder.write("ada/a.jsonl", {"n": 1})
    before = file.stat()
    await run()
    folder.append("ada/a.jsonl", {"n": 2})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    await run()
    assert folder.numbers() == [1, 2]


async def test_e12_a_copy_that_keeps_an_old_mtime_is_not_hidden(run, folder, tmp_path):
    folder.write("ada/a.jsonl", {"n": 1})
    await run()
    old = tmp_path / "old.jsonl"
    old.write_text('{"n": 2}\n')
    os.utime(old, (0, 0))
    shutil.copy2(old, folder.path / "ada" / "b.jsonl")
    await run()
    shutil.copy2(old, folder.path / "ada" / "a.jsonl")  # of the same size, and older than all
    await run()
    assert folder.numbers() == [1, 2, 2]


async def test_a_file_that_grows_is_done_once_line_by_line(run, folder):
    for number in range(4):
        folder.append("ada/a.jsonl", {"n": number})
        await run()
    assert [line["new"] for line in folder.seen()] == [[0], [1], [2], [3]]


async def test_a_renamed_file_is_not_done_again(run, folder, spark):
    """Also where it grew meanwhile: only what is new is new."""
    file = folder.write("ada/a.jsonl", {"n": 1})
    await run()
    file.rename(folder.path / "ada" / "b.jsonl")
    answer = await run()
    assert (answer.details.scanned, answer.details.skipped, answer.details.processed) == (1, 1, 0)
    assert (await run()).details.scanned == 0
    (folder.path / "ada" / "b.jsonl").rename(folder.path / "ada" / "c.jsonl")
    folder.append("ada/c.jsonl", {"n": 2})
    await run()
    assert folder.numbers() == [1, 2]
    states = await spark.resolver.get(SessionStates)
    assert [*await states.of("count")] == ["ada/c.jsonl"]


async def test_a_file_that_came_over_from_another_file_system_is_not_done_again(run, folder):
    """It is another file then, and holds the same: what was written down is found by that."""
    file = folder.write("ada/a.jsonl", {"n": 1})
    await run()
    shutil.copy(file, file.with_name("b.jsonl"))
    file.unlink()
    folder.append("ada/b.jsonl", {"n": 2})
    await run()
    assert folder.numbers() == [1, 2]


async def test_a_file_of_the_name_that_another_had_is_done(run, folder):
    """What was moved away and what came in its place are two."""
    file = folder.write("ada/a.jsonl", {"n": 1})
    await run()
    file.rename(folder.path / "ada" / "b.jsonl")
    folder.write("ada/a.jsonl", {"n": 2})
    await run()
    assert folder.numbers() == [1, 2]
    assert (await run()).details.scanned == 0


async def test_a_replaced_file_is_done_from_its_beginning(run, folder):
    file = folder.write("ada/a.jsonl", {"n": 1})
    await run()
    new = folder.write("new", {"n": 5}, {"n": 6})
    new.replace(file)
    await run()
    assert folder.numbers() == [1, 5, 6]


async def test_a_file_that_was_cut_off_is_done_from_its_beginning(run, folder):
    folder.write("ada/a.jsonl", {"n": 1}, {"n": 2}, {"n": 3})
    await run()
    folder.write("ada/a.jsonl", {"n": 9})
    await run()
    assert folder.numbers() == [1, 2, 3, 9]


async def test_half_a_line_is_left_for_later(run, folder):
    """It is done when it is whole, and once."""
    folder.write("ada/a.jsonl", {"n": 1}, '{"n": ', end="")
    await run()
    assert folder.numbers() == [1]
    folder.append("ada/a.jsonl", "2}")
    await run()
    assert (await run()).details.scanned == 0
    assert folder.numbers() == [1, 2]


async def test_half_a_line_alone_is_no_reason_to_process(run, folder):
    folder.write("ada/a.jsonl", '{"n": ', end="")
    assert (await run()).details.processed == 0
    folder.append("ada/a.jsonl", "1}")
    assert (await run()).details.processed == 1
    assert folder.numbers() == [1]


async def test_a_last_line_without_its_end_is_not_lost(run, folder):
    """An object that can be read is whole, whether a line's end follows or not."""
    folder.write("ada/a.jsonl", {"n": 1}, {"n": 2}, end="")
    await run()
    assert folder.numbers() == [1, 2]
    folder.append("ada/a.jsonl", "")
    folder.append("ada/a.jsonl", {"n": 3})
    await run()
    assert folder.numbers() == [1, 2, 3]


async def test_what_is_not_utf_8_is_read_all_the_same(run, folder):
    folder.write("ada/a.jsonl", {"n": 1})
    with (folder.path / "ada" / "a.jsonl").open("ab") as file:
        file.write(b'{"n": 2, "text": "caf\xe9"}\n\xff\xfe\n{"n": 3}\n')
    await run()
    assert folder.numbers() == [1, 2, 3]


async def test_a_name_that_is_not_utf_8_is_processed(run, folder):
    path = os.fsencode(folder.write("ada/a.jsonl", {"n": 1}))
    os.rename(path, path.replace(b"a.jsonl", b"\xff.jsonl"))
    assert (await run()).details.processed == 1
    assert (await run()).details.scanned == 0
    assert folder.seen()[0]["key"] == "ada/\\xff.jsonl"


async def test_a_file_replaced_between_look_and_read_is_done_later(run, folder, monkeypatch):
    """It fails nobody: neither is it told as an error, nor put into quarantine."""
    folder.write("ada/a.jsonl", {"n": 1})
    process = NotIsolated.process

    async def replacing(self, session, limit_s):
        new = folder.write("new", {"n": 2})
        new.replace(session.path)
        return await process(self, session, limit_s)

    with monkeypatch.context() as patch:
        patch.setattr(NotIsolated, "process", replacing)
        answer = await run()
        assert (answer.ok, answer.details.processed) == (True, 0)
    await run()
    assert folder.numbers() == [2]


async def test_a_file_that_goes_between_scan_and_look_harms_nobody(run, folder, monkeypatch):
    folder.write("ada/a.jsonl", {"n": 1})
    folder.write("ada/b.jsonl", {"n": 2})

    def scanned(root):
        found = scan(root)
        (root / "ada" / "a.jsonl").unlink(missing_ok=True)
        return found

    monkeypatch.setattr("spark_core_sessions.runner.scan", scanned)
    answer = await run()
    assert (answer.ok, answer.details.processed) == (True, 1)
    assert folder.numbers() == [2]


async def test_a_folder_that_cannot_be_read_keeps_nobody_else_waiting(run, folder, monkeypatch):
    for user in ("ada", "bob", "zoe"):
        folder.write(f"{user}/a.jsonl", {"n": 1})
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("bob"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert (await run()).details.processed == 2


def test_a_file_that_goes_while_its_folder_is_read_hides_no_other(folder, monkeypatch):
    for name in ("a", "b", "c"):
        folder.write(f"ada/{name}.jsonl", {"n": 1})
    found = files._found

    def going(username, entry):
        if entry.name == "b.jsonl":
            raise FileNotFoundError(2, "No such file or directory")
        return found(username, entry)

    monkeypatch.setattr(files, "_found", going)
    assert sorted(file.key for file in scan(folder.path)) == ["ada/a.jsonl", "ada/c.jsonl"]


async def test_a_file_with_nothing_in_it_is_looked_at_once(run, folder):
    """And is done as soon as there is something."""
    folder.write("ada/a.jsonl", end="")
    assert (await run()).details.skipped == 1
    assert (await run()).details.scanned == 0
    folder.append("ada/a.jsonl", {"n": 1})
    assert (await run()).details.items_extracted == 1


def test_a_look_that_nobody_waits_for_ends(folder):
    folder.write("ada/a.jsonl", {"n": 1})
    [found] = scan(folder.path)
    stop = threading.Event()
    stop.set()
    with pytest.raises(SessionChanged):
        prepare(found, None, {}, stop)


@pytest.mark.slow
async def test_a_file_of_2_gb_is_streamed(run, folder):
    """Most of it one line that is far too long; what stands around it is found."""
    file = folder.write("ada/a.jsonl", {"n": 1})
    with file.open("r+b") as big:
        big.seek(2 * 1024**3)
        big.write(b'\n{"n": 2}\n')
    answer = await run()
    assert (answer.ok, answer.details.items_extracted) == (True, 2)
    folder.append("ada/a.jsonl", {"n": 3})
    assert (await run()).details.items_extracted == 1
    assert folder.numbers() == [1, 2, 3]


def test_a_line_that_is_too_long_is_left_out_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("spark_core.contracts.sessions.LONGEST", 100)
    long = {"n": 0, "text": "x" * 1000}
    session = session_file(tmp_path / "ada" / "a.jsonl", {"n": 1}, long, {"n": 2}, long)
    assert [record["n"] for record in session.records()] == [1, 2]
    assert [record["n"] for record in session.newest()] == [2, 1]


LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=12)


@given(LINES, st.integers(1, 64))
def test_backwards_is_forwards_backwards(tmp_path_factory, lines, block):
    """Whatever the lines, and wherever blocks end."""
    from spark_core.contracts import sessions

    path = tmp_path_factory.mktemp("s") / "a"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    before, sessions._BLOCK = sessions._BLOCK, block  # type: ignore[misc]
    try:
        with path.open("rb") as file:
            found = [*_lines_backwards(file, path.stat().st_size)]
    finally:
        sessions._BLOCK = before  # type: ignore[misc]
    assert [line for line in found if line] == [line for line in reversed(lines) if line]


RECORDS = st.lists(st.integers(0, 99), max_size=8)


@given(st.lists(RECORDS, max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_however_a_file_grows_each_record_is_new_once(tmp_path_factory, grown, cuts):
    """Looked at after any number of bytes, between any two writes."""
    root = tmp_path_factory.mktemp("s")
    path = root / "ada" / "a.jsonl"
    path.parent.mkdir()
    raw = b"".join(json.dumps({"n": n}).encode() + b"\n" for part in grown for n in part)
    state, seen = None, []
    for size in [*sorted(min(cut, len(raw)) for cut in cuts), len(raw)]:
        path.write_bytes(raw[:size])
        [found] = scan(root)
        prepared = prepare(found, state, {})
        if not prepared.same:
            seen += [record["n"] for record in prepared.session.records(new=True)]
            end = prepared.session.end
            state = FileState("ada", None, 0, prepared.digest, end, prepared.stamp)
    assert seen == [n for part in grown for n in part]


def test_a_session_file_that_was_cut_off_says_so(tmp_path):
    session = session_file(tmp_path / "ada" / "a.jsonl", {"n": 1}, {"n": 2})
    os.truncate(session.path, 5)
    with pytest.raises(SessionChanged):
        [*session.records()]
    with pytest.raises(SessionChanged):
        [*SessionFile(tmp_path / "gone", "ada", "ada/gone", 0, 1).newest()]
