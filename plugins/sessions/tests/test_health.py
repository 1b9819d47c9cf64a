"""``/api/health/detailed``: whether session files are processed as they come."""

from __future__ import annotations

import dataclasses
import os

import pytest
from spark_core_sessions import pipeline_health
from spark_core_sessions.settings import SessionsSettings

from spark_core.errors import Unavailable
from spark_core.plugins import Plugin

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_this_process")]

GRACE = 1800


@pytest.fixture
def look(spark):
    async def look(of=None):
        return await (of or spark).call("health.detailed")

    return look


@pytest.fixture
def wrote(folder, spark_clock):
    """Writes a session as of so many seconds ago, by the clock that is ours."""

    def wrote(key, ago=0.0, *records):
        file = folder.write(key, *(records or ({"n": 1},)))
        at = spark_clock.now().timestamp() - ago
        os.utime(file, (at, at))

    return wrote


@pytest.fixture
def verified(spark, monkeypatch):
    """Lets what is looked at do nothing with all files, as a run would."""
    from spark_core_sessions.operations import Runner
    from spark_core_sessions.runs import Runs
    from spark_core_sessions.states import SessionStates

    from spark_core.clock import Clock
    from spark_core.contracts.sessions import SessionProcessor
    from spark_core.state import Leases

    async def verified(process="sample_processors:empty"):
        needs = [await spark.resolver.get(n) for n in (SessionStates, Runs, Leases, Clock)]
        runner = Runner(spark, *needs, spark.settings.section(SessionsSettings))
        found = [SessionProcessor("usage", "every 10m", process)]
        with monkeypatch.context() as patch:
            patch.setattr(spark.plugins, "session_processors", lambda: found)
            return await runner.run(found[0])

    return verified


async def test_no_files_are_ok(look):
    health = await look()
    assert (health.status, health.checks.session_pipeline.status) == ("ok", "ok")


async def test_the_public_health_takes_no_token_and_the_detailed_one_is_another(open_client):
    async with open_client() as client:
        assert (await client.get("/api/health")).status_code == 200
        detailed = (await client.get("/api/health/detailed")).json
        assert detailed["checks"]["session_pipeline"]["status"] == "ok"
        assert detailed["checks"]["backends"]["status"] == "ok"


async def test_what_is_processed_is_ok(look, wrote, verified):
    wrote("ada/a.jsonl")
    await verified()
    pipeline = (await look()).checks.session_pipeline
    assert (pipeline.status, pipeline.files, pipeline.unprocessed) == ("ok", 1, 0)


async def test_verification_is_looked_at_where_there_is_a_model_to_ask(make_spark, look, wrote):
    """Without one it is not to blame that it does nothing."""
    import spark_core_vllm

    vllm = Plugin("vllm", "spark-core-vllm", "0", module=spark_core_vllm)
    spark = make_spark(vllm, environ={"SPARK_PLUGINS_VLLM_URL": "http://127.0.0.1:9"})
    try:
        assert (await look(spark)).checks.session_pipeline.processor == "verification"
    finally:
        await spark.resolver.aclose()
    assert (await look()).checks.session_pipeline.processor == "usage"


async def test_files_that_outrun_the_processor_by_more_than_the_grace_degrade(
    look, wrote, verified, spark_clock
):
    wrote("ada/a.jsonl")
    await verified()
    spark_clock.advance(GRACE)
    wrote("ada/b.jsonl")
    assert (await look()).checks.session_pipeline.status == "ok"
    spark_clock.advance(1)
    wrote("ada/b.jsonl", 0, {"n": 2})
    health = await look()
    assert (health.status, health.checks.session_pipeline.status) == ("degraded", "warning")


async def test_a_session_after_a_long_silence_is_no_warning(look, wrote, verified, spark_clock):
    """The processor was at work meanwhile, and found nothing to do."""
    wrote("ada/a.jsonl")
    await verified()
    spark_clock.advance(86400)
    await verified()
    spark_clock.advance(60)
    wrote("ada/b.jsonl")
    assert (await look()).status == "ok"


async def test_where_nothing_was_ever_processed_the_first_file_counts(look, wrote):
    wrote("ada/a.jsonl", GRACE)
    assert (await look()).status == "ok"
    wrote("ada/a.jsonl", GRACE + 1)
    assert (await look()).status == "degraded"


async def test_grace_doubles_when_env_overrides_cadence(make_spark, look, wrote):
    wrote("ada/a.jsonl", GRACE + 1)
    spark = make_spark(environ={"SCHEDULER_VERIFICATION_DETECTOR_INTERVAL": "1800"})
    try:
        health = await look(spark)
    finally:
        await spark.resolver.aclose()
    assert (health.status, health.checks.session_pipeline.grace_s) == ("ok", 2 * GRACE)


async def test_fifo_check_a_file_that_waits_too_long_is_info_and_degrades_nothing(
    look, wrote, verified, spark_clock
):
    wrote("ada/poison.jsonl", 0, {"do": "raise"})
    await verified("sample_processors:bad")
    spark_clock.advance(7200)
    assert (await look()).checks.session_pipeline.status == "ok"
    spark_clock.advance(1)
    health = await look()
    assert (health.status, health.checks.session_pipeline.status) == ("ok", "info")


async def test_fifo_check_grace_is_four_times_the_grace_or_a_variable(make_spark):
    assert make_spark().settings.section(SessionsSettings).stuck_s == 7200
    spark = make_spark(environ={"SESSION_PIPELINE_STUCK_FILE_GRACE_SECONDS": "60"})
    assert spark.settings.section(SessionsSettings).stuck_s == 60


async def test_fifo_check_looks_at_the_oldest(look, wrote, verified, spark_clock):
    """Newer files that wait do not hide it."""
    wrote("ada/poison.jsonl", 0, {"do": "raise"})
    await verified("sample_processors:bad")
    spark_clock.advance(7201)
    wrote("ada/new.jsonl", 7201 - 60)
    assert (await look()).checks.session_pipeline.status == "info"


async def test_a_folder_that_cannot_be_read_is_unknown(look, monkeypatch):
    def unreadable(root):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pipeline_health, "scan", unreadable)
    health = await look()
    assert (health.status, health.checks.session_pipeline.status) == ("ok", "unknown")
    assert "Permission denied" in health.checks.session_pipeline.detail


async def test_a_time_beyond_the_calendar_is_its_end(look, wrote, monkeypatch):
    """Some file systems keep any number."""
    wrote("ada/a.jsonl")
    scan, far = pipeline_health.scan, 2.0**60
    monkeypatch.setattr(
        pipeline_health,
        "scan",
        lambda root: [dataclasses.replace(file, changed_at=far) for file in scan(root)],
    )
    assert (await look()).checks.session_pipeline.unprocessed == 1


async def test_a_state_that_cannot_be_read_is_unknown(look, monkeypatch):
    from spark_core_sessions.states import SessionStates

    async def away(self, processor):
        raise Unavailable("the state database cannot be used")

    monkeypatch.setattr(SessionStates, "of", away)
    assert (await look()).checks.session_pipeline.status == "unknown"


async def test_e21_a_time_of_change_is_not_that_of_the_local_zone(
    look, wrote, verified, spark_clock, monkeypatch
):
    """Where clocks are put on or back, nothing is early or late."""
    import time

    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        wrote("ada/a.jsonl")
        await verified()
        spark_clock.advance(60)
        wrote("ada/b.jsonl")
        assert (await look()).status == "ok"
    finally:
        monkeypatch.undo()
        time.tzset()
