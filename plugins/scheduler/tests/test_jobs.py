"""Which jobs there are: those of plugins, and those of settings."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import SecretStr
from spark_core_scheduler.jobs import Call, Invocation, Jobs
from spark_core_scheduler.settings import JobSettings

from spark_core import Effect, Operation
from spark_core.declarations import Job
from spark_core.errors import NotFound, SettingsError
from spark_core.operations import Empty
from spark_core.testing.plugins import plugin

from .conftest import Opener


async def sweep(request: Empty) -> Empty:
    """Sweep."""
    return Empty()


async def jobs_of(open_spark: Opener, toml: str, *jobs: Job) -> tuple[Jobs, list[Any]]:
    """The jobs that settings and a plugin make, and the plugins that are broken."""
    offered = plugin(
        "house",
        spark_register_operations=lambda: [Operation("sweep", sweep, Effect.READ)],
        spark_register_jobs=lambda: jobs,
    )
    async with open_spark(offered, toml=toml) as spark:
        return await spark.resolver.get(Jobs), spark.plugins.broken()


NIGHTLY = Job("nightly", "daily 03:00", "sweep", timeout=60)


@pytest.mark.anyio
async def test_jobs_come_from_plugins_and_from_settings(open_spark: Opener) -> None:
    toml = """
        [plugins.scheduler.jobs.sweep]
        schedule = "every 1h"
        operation = "sweep"
        [plugins.scheduler.jobs.call]
        schedule = "cron 0 3 * * 1-5"
        timezone = "Europe/Prague"
        url = "http://127.0.0.1:8000/api/run"
        method = "GET"
        timeout_s = 30
    """
    jobs, _ = await jobs_of(open_spark, toml, NIGHTLY)
    assert list(jobs) == ["call", "nightly", "sweep"]
    call = jobs.named("call")
    assert call.work == Call("http://127.0.0.1:8000/api/run", "GET")
    assert (call.when, call.timeout) == ("cron 0 3 * * 1-5 Europe/Prague", 30)
    assert jobs.named("nightly").work == Invocation("sweep", {})
    with pytest.raises(NotFound, match="nightly"):
        jobs.named("nightli")


@pytest.mark.anyio
async def test_settings_change_when_a_plugins_job_runs_and_whether(open_spark: Opener) -> None:
    toml = """
        [plugins.scheduler.jobs.nightly]
        timezone = "Europe/Prague"
        [plugins.scheduler.jobs.daily]
        enabled = false
    """
    jobs, _ = await jobs_of(open_spark, toml, NIGHTLY, Job("daily", "daily 04:00", "sweep"))
    assert list(jobs) == ["nightly"]
    assert jobs["nightly"].when == "daily 03:00 Europe/Prague"
    assert jobs["nightly"].timeout == 60


@pytest.mark.anyio
async def test_a_plugin_reads_out_of_settings_when_its_job_runs(open_spark: Opener) -> None:
    """And is broken where it cannot."""
    told = Job("told", "every 1h", "sweep", cadence=lambda settings: "every 2h")
    fails = Job("fails", "every 1h", "sweep", cadence=lambda settings: str(settings.nothing))  # type: ignore[attr-defined]
    jobs, broken = await jobs_of(open_spark, "", told, fails)
    assert [job.when for job in jobs.values()] == ["every 2h UTC"]
    assert len(broken) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('schedule = "every 5s"', "like 'every 15m'"),
        ('schedule = "every 5m\\n"', "like 'every 15m'"),
        ('operation = "sweep"', "schedule is missing"),
        ('schedule = "every 5m"\ntimezone = "Mars"', "no time zone"),
        ('schedule = "every 5m"\noperation = "sweep"\nurl = "http://h"', "not both"),
        ('schedule = "every 5m"\noperation = "sweep"\ntoken = "x"', "token goes with a url"),
        ('schedule = "every 5m"\nurl = "ftp://h"', "like https://host/path"),
        ('schedule = "every 5m"', "needs an operation or a url"),
        ('schedule = "every 5m"\noperation = "sweeb"', "did you mean 'sweep'"),
    ],
)
async def test_what_is_no_job_is_refused(open_spark: Opener, text: str, says: str) -> None:
    """In the words of whoever wrote it, and before anything runs."""
    with pytest.raises(SettingsError, match=says):
        await jobs_of(open_spark, f"[plugins.scheduler.jobs.mine]\n{text}")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "job",
    [
        Job("wrong", "every 5s", "sweep"),
        Job("wrong", "every 5m", "nothing"),
        Job("wrong", "every 5m", "sweep", timezone="Mars"),
        Job("wrong", "daily " + ",".join(f"{n // 60:02}:{n % 60:02}" for n in range(90)), "sweep"),
        Job("wrong way", "every 5m", "sweep"),
        Job("wrong" * 50, "every 5m", "sweep"),
    ],
)
async def test_a_plugins_job_that_cannot_run_is_left_out(open_spark: Opener, job: Job) -> None:
    """Its plugin is broken by name, and its other jobs run."""
    jobs, broken = await jobs_of(open_spark, "", job, NIGHTLY)
    assert list(jobs) == ["nightly"]
    assert [f"job {job.name}" in (plugin.error or "") for plugin in broken] == [True]


def test_e16_a_token_is_stripped_by_who_sends_it() -> None:
    settings = JobSettings(schedule="every 1m", url="http://host", token=SecretStr(" secret\n"))
    assert settings.token is not None
    assert settings.token.get_secret_value() == "secret"


@pytest.mark.anyio
async def test_a_token_of_nothing_is_none(open_spark: Opener) -> None:
    toml = '[plugins.scheduler.jobs.x]\nschedule = "every 1m"\nurl = "http://h"\ntoken = " "'
    jobs, _ = await jobs_of(open_spark, toml)
    assert jobs["x"].work == Call("http://h")


def test_a_url_holds_no_password() -> None:
    """It would be shown with the settings."""
    words = base64.b64encode(b"password").decode()
    with pytest.raises(ValueError, match="token"):
        JobSettings(schedule="every 1m", url=f"http://user:{words}@host/")
