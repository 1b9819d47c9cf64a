"""The collector: whose files it copies, when, and how."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from spark_core_sessions import collector
from spark_core_sessions.collector import collect
from spark_core_sessions.settings import SessionsSettings

from spark_core.errors import Conflict
from spark_core.state import AuditLog, Leases

pytestmark = pytest.mark.anyio

PERSON = 1000 if os.getuid() == 0 else os.getuid()


class Homes:
    """Homes of persons, with session files in them."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.target = target
        self.settings = SessionsSettings.model_validate(
            {"homes": str(path), "directory": str(target)}
        )

    def write(self, user: str, name: str, text: str, uid: int = PERSON) -> Path:
        file = self.path / user / "user" / "sessions" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for path in (self.path / user, file):
            os.chown(path, uid, -1)
        return file

    def copy(self, user: str, name: str) -> Path:
        return self.target / user / name


@pytest.fixture
def homes(tmp_path, folder):
    return Homes(tmp_path / "homes", folder.path)


def test_session_files_are_copied_by_user(homes):
    homes.write("ada", "a.jsonl", "one\n")
    homes.write("bob", "b.jsonl", "two\n")
    homes.write("bob", "notes.txt", "none")
    done = collect(homes.settings)
    assert (done.users_processed, done.files_copied, done.files_skipped) == (2, 2, 0)
    assert homes.copy("ada", "a.jsonl").read_text() == "one\n"
    assert [path.name for path in homes.copy("bob", "").iterdir()] == ["b.jsonl"]


def test_files_that_are_as_their_copies_are_skipped(homes):
    homes.write("ada", "a.jsonl", "one\n")
    collect(homes.settings)
    done = collect(homes.settings)
    assert (done.files_copied, done.files_skipped) == (0, 1)


def test_e13_a_session_that_grows_is_copied_again(homes):
    file = homes.write("ada", "a.jsonl", "one\n")
    collect(homes.settings)
    with file.open("a") as out:
        out.write("two\n")
    assert collect(homes.settings).files_copied == 1
    assert homes.copy("ada", "a.jsonl").read_text() == "one\ntwo\n"
    assert len(list(homes.copy("ada", "").iterdir())) == 1


def test_e13_a_copy_takes_the_others_place_at_once(homes, monkeypatch):
    """Whoever reads there reads all of one or all of the other, at every moment."""
    first, second = "a" * 3_000_000 + "\n", "a" * 6_000_000 + "\n"
    file = homes.write("ada", "a.jsonl", first)
    collect(homes.settings)
    copy, seen, done = homes.copy("ada", "a.jsonl"), set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(len(copy.read_bytes()))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for text in (second, first, second) * 3:
            file.write_text(text)
            collect(homes.settings)
    finally:
        done.set()
        reader.join()
    assert seen <= {len(first), len(second)}


def test_e13_a_copy_that_fails_leaves_the_one_before(homes, monkeypatch):
    file = homes.write("ada", "a.jsonl", "one\n")
    collect(homes.settings)
    file.write_text("one\ntwo\n")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collector.os, "fsync", full)
    done = collect(homes.settings)
    assert done.errors == ["ada/a.jsonl: No space left on device"]
    assert [p.name for p in homes.copy("ada", "").iterdir()] == ["a.jsonl"]
    assert homes.copy("ada", "a.jsonl").read_text() == "one\n"


def test_what_was_replaced_by_another_session_is_kept_beside(homes):
    """What stood in it is not lost, whether it was processed yet or not."""
    homes.write("ada", "a.jsonl", "first\n")
    collect(homes.settings)
    homes.write("ada", "a.jsonl", "another session\n")
    collect(homes.settings)
    texts = {path.read_text() for path in homes.copy("ada", "").iterdir()}
    assert texts == {"first\n", "another session\n"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
@pytest.mark.privileged
def test_uid_below_1000_is_skipped(homes):
    homes.write("service", "a.jsonl", "one\n", uid=999)
    homes.write("ada", "a.jsonl", "one\n", uid=1000)
    done = collect(homes.settings)
    assert (done.users_processed, done.files_copied) == (1, 1)
    assert not homes.copy("service", "").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
@pytest.mark.privileged
def test_a_file_of_somebody_else_is_not_copied(homes):
    """A hard link in a home might lead to what its owner may not read."""
    file = homes.write("ada", "a.jsonl", "one\n")
    os.chown(file, 1001, -1)
    assert collect(homes.settings).files_copied == 0


def test_a_link_is_not_followed(homes, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    homes.write("ada", "a.jsonl", "one\n")
    (homes.path / "ada" / "user" / "sessions" / "link.jsonl").symlink_to(secret)
    done = collect(homes.settings)
    assert done.files_copied == 1
    assert len(done.errors) == 1
    assert not homes.copy("ada", "link.jsonl").exists()


async def test_a_name_that_is_not_utf_8_can_be_told_of(open_client, homes):
    """It stands in an error, which is answered as JSON."""
    homes.write("ada", "a.jsonl", "one\n")
    folder = homes.path / "ada" / "user" / "sessions"
    os.symlink("/etc/hostname", os.fsencode(folder) + b"/\xff.jsonl")
    async with open_client() as client:
        answer = await client.simulate_post("/api/admin/run-session-collector")
    assert answer.status_code == 200
    assert answer.json["details"]["files_copied"] == 1
    assert answer.json["details"]["errors"][0].startswith("ada/\\xff.jsonl: ")


def test_a_home_that_goes_meanwhile_hides_no_other(homes, monkeypatch):
    for name in ("ada", "bob", "zoe"):
        homes.write(name, "a.jsonl", "one\n")
    sessions = collector._sessions

    def going(home, patterns):
        if home.name == "bob":
            raise FileNotFoundError(2, "No such file or directory")
        return sessions(home, patterns)

    monkeypatch.setattr(collector, "_sessions", going)
    done = collect(homes.settings)
    assert (done.files_copied, done.errors) == (2, ["bob: No such file or directory"])


def test_the_same_name_in_two_projects_is_two_sessions(homes):
    settings = homes.settings.model_copy(update={"collect": ("projects/*/*.jsonl",)})
    homes.write("ada", "x.jsonl", "")
    for project in ("north", "south"):
        file = homes.path / "ada" / "projects" / project / "a.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text(project)
        os.chown(file, PERSON, -1)
    assert collect(settings).files_copied == 2
    assert homes.copy("ada", "north--a.jsonl").read_text() == "north"


def test_no_homes_are_nothing_to_collect(homes):
    assert collect(homes.settings).users_processed == 0


def test_dry_run_copies_nothing_and_counts(homes):
    homes.write("ada", "a.jsonl", "one\n")
    done = collect(homes.settings, dry_run=True)
    assert (done.users_processed, done.files_copied) == (1, 1)
    assert not homes.target.exists()


async def test_dry_run_is_a_field_of_the_request(spark, homes):
    homes.write("ada", "a.jsonl", "one\n")
    answer = await spark.call("sessions.collect", {"dry_run": True})
    assert (answer.ok, answer.details.dry_run, answer.details.files_copied) == (True, True, 1)
    assert not homes.target.exists()


async def test_run_does_not_call_argparse(spark, homes, monkeypatch):
    """Collecting is a function: it looks at nobody's command line."""
    import argparse

    def parse(*_, **__):
        raise AssertionError("it looked at the command line")

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr("sys.argv", ["x", "--nonsense"])
    assert (await spark.call("sessions.collect")).ok


async def test_a_collection_is_answered_and_audited(open_client, make_spark, homes):
    homes.write("ada", "a.jsonl", "one\n")
    spark = make_spark()
    async with open_client(of=spark) as client:
        answer = await client.post("/api/admin/run-session-collector")
        [entry] = await (await spark.resolver.get(AuditLog)).entries()
    assert answer.status_code == 200
    details = answer.json["details"]
    assert answer.json["ok"]
    assert (details["users_processed"], details["files_copied"]) == (1, 1)
    assert details["files_skipped"] == 0
    assert (entry.action, entry.resource) == ("run_session_collector", "job:session-collector")
    assert (entry.detail["files_copied"], entry.outcome) == (1, "ok")


@pytest.mark.parametrize("value", ["1", "true", "TRUE"])
async def test_agnes_skip_legacy_collector_skips(make_spark, homes, value):
    homes.write("ada", "a.jsonl", "one\n")
    spark = make_spark(environ={"AGNES_SKIP_LEGACY_COLLECTOR": value})
    try:
        answer = await spark.call("sessions.collect")
    finally:
        await spark.resolver.aclose()
    assert (answer.ok, answer.details.skipped, answer.details.files_copied) == (True, True, 0)
    assert not homes.target.exists()


async def test_a_second_collection_at_the_same_time_is_refused(spark):
    leases = await spark.resolver.get(Leases)
    async with leases.hold("session-collector"):
        with pytest.raises(Conflict, match="already running"):
            await spark.call("sessions.collect")
    assert (await spark.call("sessions.collect")).ok


@pytest.mark.usefixtures("in_this_process")
async def test_what_is_collected_while_it_grows_is_processed_once(spark, homes, folder, run):
    """From the home to the processor, line by line: the copy is another file each time."""
    file = homes.write("ada", "a.jsonl", "")
    for number in range(3):
        with file.open("a") as out:
            out.write(f'{{"n": {number}}}\n')
        await spark.call("sessions.collect")
        await run()
    assert [line["new"] for line in folder.seen()] == [[0], [1], [2]]
