"""``spark scheduler``: a process that runs jobs, for a supervisor to keep alive."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import click

from spark_core import Spark
from spark_core.listening import listen, url_of
from spark_core.settings import Source
from spark_core.spark import compose

from .health import telling
from .jobs import Jobs
from .leading import Pulse, schedule
from .settings import SchedulerSettings

__all__ = ["command", "serve"]

#: Seconds that threads have to end after all else has.
THREADS_SECONDS = 1.0

log = logging.getLogger(__name__)


@click.command("scheduler")
@click.option("--health-host", help="The address at which it tells its health.")
@click.option("--health-port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
def command(health_host: str | None, health_port: int | None) -> None:
    """Run jobs when their time comes, until a signal says to stop.

    Any number may run, on any number of hosts with the same state: one of them leads, and another
    takes over when it is gone. SIGTERM begins nothing more and waits for what is running; a second
    one does not wait. /health is for a supervisor.
    """
    config: str | None = click.get_current_context().find_root().obj
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for noisy in ("httpx", "httpcore", "alembic"):  # httpx would log what is asked, with its query
        logging.getLogger(noisy).setLevel(logging.WARNING)
    spark = compose(Source.read(config))
    for plugin in spark.plugins.broken():
        log.warning("plugin %s (%s) is broken: %s", plugin.name, plugin.distribution, plugin.error)
    settings = spark.settings.section(SchedulerSettings)
    host = health_host or settings.health_host
    port = settings.health_port if health_port is None else health_port
    with listen(host, port) as listener:
        asyncio.run(serve(spark, settings, listener))


async def serve(spark: Spark, settings: SchedulerSettings, listener: socket.socket) -> None:
    """Take part in running jobs, and tell at *listener* how it goes, until a signal comes."""
    stop, pulse, loop = asyncio.Event(), Pulse(), asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None

    def stopped() -> None:
        if stop.is_set():
            main.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped)
    try:
        jobs = await spark.resolver.get(Jobs)
        # Jobs that keep a thread each must not keep the scheduler from its own.
        threads = ThreadPoolExecutor(32 + 2 * len(jobs))
        loop.set_default_executor(threads)
        limit = max(30.0, 3 * settings.lease_s)
        watching = asyncio.create_task(_watch(settings.lease_s))
        greeting = asyncio.create_task(_greet(pulse, url_of(listener)))
        try:
            async with telling(listener, pulse, limit):
                await schedule(spark, stop, pulse)
        except asyncio.CancelledError:
            if not stop.is_set():
                raise
        finally:
            watching.cancel()
            greeting.cancel()
            faulthandler.cancel_dump_traceback_later()
    finally:
        await spark.resolver.aclose()
    _leave(threads)


def _leave(threads: ThreadPoolExecutor) -> None:
    """Give up threads that jobs left behind: nobody can end them, and Python would wait for them.

    The process ends here and now if one goes on; everything else is closed.
    """
    threads.shutdown(wait=False, cancel_futures=True)
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    end = time.monotonic() + THREADS_SECONDS
    for thread in others:
        thread.join(max(0.0, end - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        log.warning("what a job left running in a thread ends with this process")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


async def _greet(pulse: Pulse, url: str) -> None:
    """Say that it serves when it can be asked to run something."""
    await pulse.settled.wait()
    click.echo(f"Serving jobs as {pulse.role}; health at {url}/health (Ctrl-C stops)")


async def _watch(lease_s: float) -> None:
    """End this process if its event loop stands still for as long as the lease lives.

    Something blocks it, which the lease's loss cannot cancel: it must not go on under the
    lease of another. The supervisor starts it again; where it stood is told.
    """
    while True:
        faulthandler.dump_traceback_later(lease_s * 0.9, exit=True)
        await asyncio.sleep(lease_s / 8)
