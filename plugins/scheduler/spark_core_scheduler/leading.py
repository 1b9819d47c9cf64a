"""Which of several schedulers leads: the one that holds the lease. The others wait for it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from spark_core import Spark
from spark_core.clock import Clock
from spark_core.errors import LeaseHeld, SettingsError, SparkError
from spark_core.plugins import Plugins
from spark_core.resolution import Resolver
from spark_core.settings import Settings
from spark_core.state import Leases

from .application import ApplicationSettings
from .book import Book
from .dispatch import Dispatcher
from .jobs import Jobs
from .settings import SchedulerSettings

__all__ = ["LEASE", "Pulse", "in_host", "schedule"]

#: The lease of whoever runs jobs.
LEASE: Final = "scheduler"

log = logging.getLogger(__name__)


@dataclass
class Pulse:
    """Signs of life: when the scheduler was last seen at work, by the event loop's clock.

    It has *settled* when it is known for the first time who leads.
    """

    role: str = "starting"
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    beaten_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    running: int = 0

    def beat(self, role: str, running: int = 0) -> None:
        """It is at work, in this *role*, with so many runs in flight."""
        self.role, self.running = role, running
        self.settled.set()
        self.beaten_at = asyncio.get_running_loop().time()

    @property
    def age(self) -> float:
        """Seconds since then."""
        return asyncio.get_running_loop().time() - self.beaten_at


class Term:
    """For how long this scheduler leads, by the event loop's clock, if nothing comes between."""

    _until = 0.0

    def extend(self, until: float) -> None:
        """It leads up to *until*."""
        self._until = until

    def lasts(self) -> bool:
        """Whether it still leads."""
        return asyncio.get_running_loop().time() < self._until


async def schedule(spark: Spark, stop: asyncio.Event, pulse: Pulse) -> None:
    """Take part in running jobs until *stop*; lead whenever nobody else does.

    :raises SettingsError: the jobs of the settings cannot be run.
    """
    settings = spark.settings.section(SchedulerSettings)
    jobs = await spark.resolver.get(Jobs)
    _warn(spark.settings.section(ApplicationSettings))
    while not stop.is_set():
        try:
            await _lead(spark, jobs, settings, stop, pulse)
        except LeaseHeld:
            pass  # another one leads
        except SettingsError:
            raise
        except SparkError as error:
            log.warning("this scheduler does not lead any more: %s", error)
        pulse.beat("standby")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.lease_s / 4)


async def _lead(
    spark: Spark, jobs: Jobs, settings: SchedulerSettings, stop: asyncio.Event, pulse: Pulse
) -> None:
    """Run *jobs* for as long as the lease can be held.

    :raises LeaseHeld: another scheduler leads.
    :raises LeaseLost: it was lost, and everything that was running is cancelled.
    """
    from .work import open_worker  # only here: httpx takes long to import

    book, leases = await spark.resolver.get(Book), await spark.resolver.get(Leases)
    clock: Clock = await spark.resolver.get(Clock)  # type: ignore[type-abstract]
    term = Term()
    async with leases.hold(LEASE, settings.lease_s, until=term.extend) as lease:
        log.info("this scheduler leads, with %d jobs", len(jobs))
        async with open_worker(spark, settings.patience_s) as worker:
            dispatcher = Dispatcher(jobs, book, lease, clock, worker.do, settings, term.lasts)
            await dispatcher.run(stop, lambda: pulse.beat("leader", len(dispatcher.running)))


def _warn(application: ApplicationSettings) -> None:
    """Once, and not with each call."""
    token = application.token
    if application.active and not (token and token.get_secret_value()):
        log.warning("SCHEDULER_API_TOKEN is not set: the application is called without a token")


async def in_host(
    settings: SchedulerSettings, plugins: Plugins, all_settings: Settings, resolver: Resolver
) -> None:
    """The background service: takes part in this host, until it is cancelled.

    Then nothing more is begun, and what is running is waited for as long as settings say.
    """
    if not settings.in_host:
        await asyncio.Event().wait()
    stop = asyncio.Event()
    taking_part = asyncio.create_task(
        schedule(Spark(plugins, all_settings, resolver), stop, Pulse()), name="scheduler"
    )
    try:
        await asyncio.shield(taking_part)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(taking_part, return_exceptions=True)
        raise
