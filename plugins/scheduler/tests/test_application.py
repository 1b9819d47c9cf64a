"""The jobs of another application, driven as its own scheduler did."""

from __future__ import annotations

from pathlib import Path

import pytest
import spark_core_scheduler
from spark_core_scheduler.application import (
    ApplicationSettings,
    application_jobs,
    seconds_to_schedule,
)
from spark_core_scheduler.settings import JobSettings

from spark_core.errors import SettingsError
from spark_core.plugins import Plugin
from spark_core.settings import Settings, Source
from spark_core.testing.plugins import installed

SCHEDULER = Plugin("scheduler", "spark-core-scheduler", "0", module=spark_core_scheduler)


def build_jobs(**environ: str) -> dict[str, JobSettings]:
    """The jobs that *environ* means, where the application is driven."""
    toml = {"plugins": {"scheduler": {"application": {"active": True}}}}
    source = Source(None, Path("/"), toml, {}, environ)
    settings = Settings.check(source, installed(SCHEDULER).settings_sections())
    return application_jobs(settings.section(ApplicationSettings))


def test_build_jobs_uses_documented_defaults() -> None:
    base = "http://localhost:8000/api/"
    processor = "admin/run-session-processor?processor="
    assert {(j.schedule, j.method, j.url, j.timeout_s) for j in build_jobs().values()} == {
        ("every 15m", "POST", f"{base}sync/trigger", 120),
        ("every 5m", "GET", f"{base}health", 30),
        ("every 1m", "POST", f"{base}scripts/run-due", 600),
        ("daily 03:00", "POST", f"{base}marketplaces/sync-all", 900),
        ("every 10m", "POST", f"{base}admin/run-session-collector", 300),
        ("every 15m", "POST", f"{base}{processor}verification", 900),
        ("every 10m", "POST", f"{base}{processor}usage", 300),
        ("every 17m", "POST", f"{base}admin/run-corporate-memory", 900),
    }


def test_build_jobs_honors_env_overrides() -> None:
    jobs = build_jobs(
        API_URL="http://app:1/",
        SCHEDULER_API_TOKEN=" secret \n",
        SCHEDULER_DATA_REFRESH_INTERVAL="7200",
        SCHEDULER_VERIFICATION_DETECTOR_INTERVAL="90",
    )
    refresh = jobs["application.data-refresh"]
    assert (refresh.schedule, refresh.url) == ("every 2h", "http://app:1/api/sync/trigger")
    assert jobs["application.verification-detector"].schedule == "every 2m"
    assert refresh.token is not None
    assert refresh.token.get_secret_value() == "secret"  # E16: both sides strip it


@pytest.mark.parametrize("wrong", ["", "0", "-5", "ten", "1.5"])
@pytest.mark.parametrize(
    "name", ["HEALTH_CHECK_INTERVAL", "TICK_SECONDS", "USAGE_PROCESSOR_INTERVAL"]
)
def test_build_jobs_rejects_invalid_env(name: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match="more than 0"):
        build_jobs(**{f"SCHEDULER_{name}": wrong})


@pytest.mark.parametrize("url", ["", "localhost:8000", "http://ada:geheim@app"])
def test_build_jobs_rejects_a_url_that_is_none(url: str) -> None:
    """In the words of settings, and without showing what may be a secret."""
    with pytest.raises(SettingsError, match="like https://host/path") as told:
        build_jobs(API_URL=url)
    assert "geheim" not in str(told.value)


def test_build_jobs_rejects_an_interval_that_no_schedule_has() -> None:
    with pytest.raises(SettingsError, match="health_check_interval is too long"):
        build_jobs(SCHEDULER_HEALTH_CHECK_INTERVAL="1" + "0" * 12)


def test_build_jobs_heeds_the_schedule_of_verification() -> None:
    """`SCHEDULER_VERIFICATION_SCHEDULE` goes before the interval."""
    schedule = "SCHEDULER_VERIFICATION_SCHEDULE"
    name = "application.verification-detector"
    assert build_jobs(**{schedule: "daily 02:00"})[name].schedule == "daily 02:00"
    assert build_jobs(**{schedule: ""})[name].schedule == "every 15m"
    with pytest.raises(SettingsError, match="like 'every 15m'"):
        build_jobs(**{schedule: "daily 2:00"})


def test_build_jobs_rejects_tick_larger_than_smallest_interval() -> None:
    build_jobs(SCHEDULER_TICK_SECONDS="60")
    with pytest.raises(SettingsError, match="shortest interval, 60"):
        build_jobs(SCHEDULER_TICK_SECONDS="61")


@pytest.mark.parametrize(
    ("seconds", "schedule"),
    [(90, "every 2m"), (61, "every 2m"), (3601, "every 61m"), (1, "every 1m"), (7200, "every 2h")],
)
def test_seconds_to_schedule_rounds_up_not_down(seconds: int, schedule: str) -> None:
    assert seconds_to_schedule(seconds) == schedule


def test_its_variables_disturb_nobody_who_does_not_drive_it() -> None:
    """A wrong variable of the other application is no error where it is not called."""
    source = Source(None, Path("/"), {}, {}, {"SCHEDULER_TICK_SECONDS": ""})
    settings = Settings.check(source, installed(SCHEDULER).settings_sections())
    assert application_jobs(settings.section(ApplicationSettings)) == {}
