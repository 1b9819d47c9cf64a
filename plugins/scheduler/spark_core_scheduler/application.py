"""The jobs of the application that the first scheduler was made for, driven as it did.

Its variables, its defaults and its list of jobs; none of them is read unless it is switched on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import Field, model_validator

from spark_core import Env, Section
from spark_core.schedules import is_valid

from .settings import LONGEST, JobSettings, Method, Token, of_the_grammar, of_the_web

__all__ = ["ApplicationSettings", "application_jobs", "seconds_to_schedule"]


class ApplicationSettings(Section):
    """``[plugins.scheduler.application]``: another application, called at its own intervals.

    Intervals are whole seconds; what is set to nothing is an error, as it was there.
    """

    active: bool = Field(default=False, description="Whether the application is called.")
    url: Annotated[str, Env("API_URL")] = Field(
        default="http://localhost:8000", description="Where the application listens."
    )
    token: Annotated[Token | None, Env("SCHEDULER_API_TOKEN")] = Field(
        default=None, description="The bearer token that it is shown."
    )
    data_refresh_interval: Annotated[int | str, Env("SCHEDULER_DATA_REFRESH_INTERVAL")] = 900
    health_check_interval: Annotated[int | str, Env("SCHEDULER_HEALTH_CHECK_INTERVAL")] = 300
    script_run_interval: Annotated[int | str, Env("SCHEDULER_SCRIPT_RUN_INTERVAL")] = 60
    session_collector_interval: Annotated[
        int | str, Env("SCHEDULER_SESSION_COLLECTOR_INTERVAL")
    ] = 600
    verification_detector_interval: Annotated[
        int | str, Env("SCHEDULER_VERIFICATION_DETECTOR_INTERVAL")
    ] = 900
    verification_schedule: Annotated[str | None, Env("SCHEDULER_VERIFICATION_SCHEDULE")] = Field(
        default=None,
        max_length=LONGEST,
        description="When verification runs instead of at an interval.",
    )
    usage_processor_interval: Annotated[int | str, Env("SCHEDULER_USAGE_PROCESSOR_INTERVAL")] = 600
    corporate_memory_interval: Annotated[int | str, Env("SCHEDULER_CORPORATE_MEMORY_INTERVAL")] = (
        1020
    )
    tick_seconds: Annotated[int | str, Env("SCHEDULER_TICK_SECONDS")] = Field(
        default=30,
        description="Checked against the intervals and not needed: nothing is late by a tick.",
    )

    @model_validator(mode="after")
    def _intervals(self) -> ApplicationSettings:
        if self.active:
            of_the_web(self.url)
            of_the_grammar(self.verification_schedule or "every 1m")
            smallest = min(self.seconds(name) for name in _INTERVALS)
            if self.seconds("tick_seconds") > smallest:
                raise ValueError(f"tick_seconds is longer than the shortest interval, {smallest}")
        return self

    def seconds(self, name: str) -> int:
        """The setting *name*, which is a whole number of seconds.

        :raises ValueError: it is none, not positive, or longer than a schedule may be.
        """
        try:
            seconds = int(str(getattr(self, name)))
        except ValueError:
            seconds = 0
        if seconds <= 0:
            raise ValueError(f"{name} must be a whole number of seconds, and more than 0")
        if not is_valid(seconds_to_schedule(seconds)):
            raise ValueError(f"{name} is too long")
        return seconds

    def schedule(self, when: str) -> str:
        """The schedule of a job: *when* names the setting of its interval, or is one itself."""
        if when == "verification_detector_interval" and self.verification_schedule:
            return self.verification_schedule
        return seconds_to_schedule(self.seconds(when)) if when in _INTERVALS else when


def seconds_to_schedule(seconds: int) -> str:
    """An interval as a schedule: whole hours are hours, anything else whole minutes, rounded up."""
    if seconds % 3600 == 0:
        return f"every {seconds // 3600}h"
    return f"every {max(1, -(-seconds // 60))}m"


#: Each job: its name, its interval's setting or its schedule, method, path, and its timeout.
_JOBS: Final[Iterable[tuple[str, str, Method, str, float]]] = (
    ("data-refresh", "data_refresh_interval", "POST", "/api/sync/trigger", 120),
    ("health-check", "health_check_interval", "GET", "/api/health", 30),
    ("script-runner", "script_run_interval", "POST", "/api/scripts/run-due", 600),
    ("marketplaces", "daily 03:00", "POST", "/api/marketplaces/sync-all", 900),
    (
        "session-collector",
        "session_collector_interval",
        "POST",
        "/api/admin/run-session-collector",
        300,
    ),
    (
        "verification-detector",
        "verification_detector_interval",
        "POST",
        "/api/admin/run-session-processor?processor=verification",
        900,
    ),
    (
        "usage-processor",
        "usage_processor_interval",
        "POST",
        "/api/admin/run-session-processor?processor=usage",
        300,
    ),
    (
        "corporate-memory",
        "corporate_memory_interval",
        "POST",
        "/api/admin/run-corporate-memory",
        900,
    ),
)

_INTERVALS: Final = tuple(job[1] for job in _JOBS if job[1].endswith("_interval"))


def application_jobs(settings: ApplicationSettings) -> dict[str, JobSettings]:
    """The application's jobs by their names, which begin alike; none where it is not called."""
    if not settings.active:
        return {}
    base = settings.url.rstrip("/")
    return {
        f"application.{name}": JobSettings(
            schedule=settings.schedule(when),
            url=base + path,
            method=method,
            timeout_s=timeout,
            token=settings.token,
        )
        for name, when, method, path, timeout in _JOBS
    }
