"""What a run does with files: which are new, what is written down, and what is told."""

from __future__ import annotations

import os

import pytest
from spark_core_sessions.files import scan
from spark_core_sessions.states import SessionStates

from spark_core.errors import NotFound, UnknownChoice

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_this_process")]


async def known(spark, processor="count"):
    return await (await spark.resolver.get(SessionStates)).of(processor)


async def test_processed_then_skipped_on_second_call(run, folder):
    folder.write("ada/a.jsonl", {"n": 1}, {"n": 2})
    first = await run()
    assert first.ok
    assert (first.details.scanned, first.details.processed) == (1, 1)
    assert first.details.items_extracted == 2
    second = await run()
    assert (second.details.scanned, second.details.processed, second.details.skipped) == (0, 0, 0)
    assert folder.numbers() == [1, 2]


async def test_raise_leaves_state_unwritten(run, folder, spark):
    folder.write("ada/a.jsonl", {"do": "raise"})
    answer = await run("bad")
    assert not answer.ok
    assert (answer.details.processed, answer.details.errors) == (0, 1)
    assert await known(spark, "bad") == {}


async def test_empty_result_marks_processed(run, folder, spark):
    folder.write("ada/a.jsonl", {"n": 1})
    answer = await run("empty")
    assert (answer.details.processed, answer.details.items_extracted) == (1, 0)
    assert [*await known(spark, "empty")] == ["ada/a.jsonl"]
    assert (await run("empty")).details.scanned == 0


async def test_file_hash_invalidates_state(run, folder):
    folder.write("ada/a.jsonl", {"n": 1})
    await run()
    folder.write("ada/a.jsonl", {"n": 2})
    answer = await run()
    assert (answer.details.scanned, answer.details.processed) == (1, 1)
    assert folder.numbers() == [1, 2]


async def test_processors_isolated(run, folder, spark):
    """What one has done, another has not."""
    folder.write("ada/a.jsonl", {"n": 1})
    await run("count")
    assert await known(spark, "sum") == {}
    assert (await run("sum")).details.processed == 1
    assert (await run("bad")).details.processed == 1


async def test_no_sessions_dir_returns_clean_stats(run, folder):
    assert not folder.path.exists()
    answer = await run()
    assert answer.ok
    assert {*answer.details.counts.values()} == {0}
    assert answer.details.errors_detail == []


async def test_non_processor_result_return_coerced(run, folder, spark):
    folder.write("ada/a.jsonl", {"n": 1})
    answer = await run("wrong")
    assert (answer.ok, answer.details.processed, answer.details.items_extracted) == (True, 1, 0)
    assert [*await known(spark, "wrong")] == ["ada/a.jsonl"]


async def test_scan_filters_stable_sessions_via_mtime(run, folder):
    """A stamp that is as it was is not even hashed."""
    folder.write("ada/a.jsonl", {"n": 1})
    await run()
    folder.write("bob/b.jsonl", {"n": 2})
    answer = await run()
    assert (answer.details.scanned, answer.details.processed) == (1, 1)


async def test_a_touched_file_is_hashed_and_skipped(run, folder):
    """Its stamp is another one; what stands in it is not."""
    file = folder.write("ada/a.jsonl", {"n": 1})
    await run()
    file.touch()
    answer = await run()
    assert (answer.details.scanned, answer.details.skipped, answer.details.processed) == (1, 1, 0)
    assert (await run()).details.scanned == 0


async def test_scan_surfaces_session_modified_after_processing(run, folder):
    folder.write("ada/a.jsonl", {"n": 1})
    await run()
    folder.append("ada/a.jsonl", {"n": 2})
    answer = await run()
    assert (answer.details.scanned, answer.details.processed) == (1, 1)
    assert [line["new"] for line in folder.seen()] == [[1], [2]]


def test_scan_skips_non_directory_entries(folder):
    folder.write("ada/a.jsonl", {"n": 1})
    folder.write("stray.jsonl", {"n": 2})
    folder.write("ada/notes.txt", "no session")
    (folder.path / "ada" / "folder.jsonl").mkdir()
    (folder.path / "ada" / "link.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(folder.path / "ada" / "pipe.jsonl")
    assert [file.key for file in scan(folder.path)] == ["ada/a.jsonl"]


async def test_mark_upserts_on_re_run(run, folder, spark, spark_clock):
    folder.write("ada/a.jsonl", {"n": 1})
    await run()
    [before] = (await known(spark)).values()
    spark_clock.advance(60)
    folder.append("ada/a.jsonl", {"n": 2})
    await run()
    [after] = (await known(spark)).values()
    assert (after.processed_at - before.processed_at).total_seconds() == 60
    assert after.position > before.position


async def test_malformed_and_blank_lines_are_skipped(run, folder):
    folder.write("ada/a.jsonl", {"n": 1}, "", "{broken", "[1]", "null", "   ", {"n": 2})
    assert (await run()).details.items_extracted == 2
    assert folder.numbers() == [1, 2]


async def test_it_is_the_same_on_postgresql(make_spark, run, folder, postgresql_url):
    """States, failures, renames and the history, in the other database."""
    folder.write("ada/a.jsonl", {"n": 1, "do": "raise"})
    spark = make_spark(environ={"SPARK_STATE_URL": postgresql_url})
    try:
        assert (await run(of=spark)).details.processed == 1
        assert (await run("bad", of=spark)).details.errors == 1
        file = folder.append("ada/a.jsonl", {"n": 2})
        file.rename(file.with_name("b.jsonl"))
        assert (await run(of=spark)).details.items_extracted == 1
        assert [*await known(spark)] == ["ada/b.jsonl"]
        assert (await run("usage", of=spark)).ok
        status = await spark.call("sessions.status")
    finally:
        await spark.resolver.aclose()
    assert {p.name: p.files for p in status.processors}["count"] == 1


async def test_names_of_any_bytes_and_requests_of_any_text_are_no_error_on_postgresql(
    make_spark, run, folder, postgresql_url
):
    odd = os.fsencode(folder.path) + b"/" + b"\xff" * 200
    os.makedirs(odd)
    with open(odd + b"/a.jsonl", "w") as file:  # noqa: ASYNC230
        file.write('{"n": 1}\n')
    spark = make_spark(environ={"SPARK_STATE_URL": postgresql_url})
    try:
        assert (await run(of=spark)).details.processed == 1
        with pytest.raises(UnknownChoice):
            await run("a\x00b", of=spark)
        with pytest.raises(NotFound):
            await spark.call("sessions.retry", {"processor": "count", "session_file": "a\x00"})
    finally:
        await spark.resolver.aclose()


async def test_a_session_is_called_folder_and_file(run, folder):
    folder.write("ada/a.jsonl", {"n": 1})
    await run()
    assert folder.seen()[0]["key"] == "ada/a.jsonl"


async def test_item_7_changing_the_verification_interval_moves_cadence_and_grace(make_spark):
    spark = make_spark(environ={"SCHEDULER_VERIFICATION_DETECTOR_INTERVAL": "1800"})
    jobs = {job.name: job for job in spark.plugins.jobs()}
    job = jobs["session-processor:verification"]
    assert job.schedule_by(spark.settings) == "every 30m"
    assert job.schedule_by(make_spark().settings) == "every 15m"


async def test_item_5_timeouts_of_the_jobs(make_spark):
    jobs = {job.name: job for job in make_spark().plugins.jobs()}
    assert jobs["session-collector"].timeout == 300
    assert jobs["session-processor:verification"].timeout == 900
    assert jobs["session-processor:usage"].timeout == 300
    settings = make_spark().settings
    assert jobs["session-processor:usage"].schedule_by(settings) == "every 10m"
    assert jobs["session-collector"].schedule_by(settings) == "every 10m"


def test_verification_has_a_schedule_of_its_own_where_settings_say_so(make_spark):
    spark = make_spark(environ={"SCHEDULER_VERIFICATION_SCHEDULE": "daily 03:00"})
    jobs = {job.name: job for job in spark.plugins.jobs()}
    assert jobs["session-processor:verification"].schedule_by(spark.settings) == "daily 03:00"


def test_seconds_to_schedule_rounds_up_not_down():
    from spark_core_sessions.settings import schedule_of

    seconds = {90: "2m", 61: "2m", 3601: "61m", 1: "1m", 3600: "1h", 7200: "2h", 900: "15m"}
    assert {s: schedule_of(s) for s in seconds} == {s: f"every {t}" for s, t in seconds.items()}
