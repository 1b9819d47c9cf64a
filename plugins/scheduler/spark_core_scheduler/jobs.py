"""The jobs that there are: those of plugins, of settings, and of the application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta, tzinfo
from functools import cached_property
from typing import Any, TypeAlias

from pydantic import SecretStr, TypeAdapter

from spark_core import schedules
from spark_core.declarations import Job
from spark_core.errors import NotFound, SettingsError
from spark_core.plugins import Plugins
from spark_core.schedules import Every, Schedule
from spark_core.settings import Settings, nearest

from .application import ApplicationSettings, application_jobs
from .settings import LONGEST, LONGEST_ZONE, JobSettings, Method, Name, SchedulerSettings

__all__ = ["Call", "Invocation", "Jobs", "Planned", "open_jobs"]

log = logging.getLogger(__name__)

#: What is to run always does so this often: there is no moment between two moments.
SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True)
class Invocation:
    """An operation and its request."""

    operation: str
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """An HTTP call. Its url is not shown where it does not have to be."""

    url: str
    method: Method = "POST"
    body: Any = None
    token: SecretStr | None = None


Work: TypeAlias = Invocation | Call


@dataclass(frozen=True)
class Planned:
    """A job: what is done when, and for how many seconds at most."""

    name: str
    schedule: str
    work: Work
    timeout: float = 600.0
    timezone: str = "UTC"

    @cached_property
    def times(self) -> Schedule:
        """What its schedule means."""
        times = schedules.parse(self.schedule)
        if isinstance(times, Every):
            return Every(max(times.pause, SHORTEST))
        return times

    @cached_property
    def zone(self) -> tzinfo:
        """Whose times they are."""
        return schedules.zone(self.timezone)

    @property
    def when(self) -> str:
        """Its schedule and zone, which together say when it runs."""
        return f"{self.schedule} {self.timezone}"


class Jobs(dict[str, Planned]):
    """Every job by its name."""

    def named(self, name: str) -> Planned:
        """The job called *name*.

        :raises NotFound: there is none.
        """
        if name not in self:
            raise NotFound(f"there is no job {name!r}{nearest(name, self)}")
        return self[name]


@asynccontextmanager
async def open_jobs(
    plugins: Plugins,
    settings: SchedulerSettings,
    application: ApplicationSettings,
    all_settings: Settings,
) -> AsyncIterator[Jobs]:
    """Those of plugins, as settings change them, those of settings and of the application.

    :raises SettingsError: a job of the settings is no job, or two share a name.
    """
    jobs = {job.name: job for job in _of_plugins(plugins, all_settings)}
    known = {operation.name for operation in plugins.operations()}
    off = set[str]()
    for name, given in _of_settings(settings, application):
        jobs[name] = _of(name, given, jobs.get(name), known)
        off |= set() if given.enabled else {name}
    yield Jobs({name: job for name, job in sorted(jobs.items()) if name not in off})


def _of_plugins(plugins: Plugins, settings: Settings) -> Iterator[Planned]:
    """A plugin whose job cannot be run is told so, and its other jobs are.

    :raises SettingsError: settings say when a job runs, and say it wrongly.
    """
    known = {operation.name for operation in plugins.operations()}
    for job in plugins.jobs():
        try:
            planned = _planned(job, settings)
            if job.operation not in known:
                raise ValueError(f"there is no operation {job.operation!r}")
        except SettingsError:
            raise
        except Exception as error:
            plugins.blame(job, f"job {job.name}: {error}")
            log.error("job %s of %s is left out: %s", job.name, plugins.distribution_of(job), error)
        else:
            yield planned


def _planned(job: Job, settings: Settings) -> Planned:
    work = Invocation(job.operation, job.request)
    schedule = job.schedule_by(settings)
    planned = Planned(job.name, schedule, work, job.timeout, job.timezone)
    _ = planned.times, planned.zone
    TypeAdapter(Name).validate_python(job.name)
    if len(schedule) > LONGEST or len(job.timezone) > LONGEST_ZONE:
        raise ValueError("its schedule is too long")
    return planned


def _of_settings(
    settings: SchedulerSettings, application: ApplicationSettings
) -> Iterator[tuple[str, JobSettings]]:
    theirs = application_jobs(application)
    if twice := theirs.keys() & settings.jobs.keys():
        raise SettingsError(f"[plugins.scheduler.jobs] {min(twice)} is a job of the application")
    yield from settings.jobs.items()
    yield from theirs.items()


def _of(name: str, given: JobSettings, old: Planned | None, known: set[str]) -> Planned:
    """The job that settings mean: one of their own, or a plugin's with other times."""
    place = f"[plugins.scheduler.jobs.{name}]"
    work = _work(given)
    if work is not None and old is not None:
        raise SettingsError(f"{place} a plugin has a job of this name")
    if isinstance(work, Invocation) and work.operation not in known:
        raise SettingsError(
            f"{place} there is no operation {work.operation!r}{nearest(work.operation, known)}"
        )
    if work is not None:
        assert given.schedule is not None  # the section has seen to it
        old = Planned(name, given.schedule, work)
    if old is None:
        raise SettingsError(f"{place} needs an operation or a url: no plugin has a job {name!r}")
    return replace(
        old,
        schedule=given.schedule or old.schedule,
        timezone=given.timezone or old.timezone,
        timeout=given.timeout_s or old.timeout,
    )


def _work(given: JobSettings) -> Work | None:
    if given.operation:
        return Invocation(given.operation, given.request)
    if given.url:
        token = given.token if given.token and given.token.get_secret_value() else None
        return Call(given.url, given.method, given.body, token)
    return None
