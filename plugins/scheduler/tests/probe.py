"""A scheduler in a process that may be killed, with jobs that write down each thing they do.

``probe.py URL FILE WHOLE LEASE``: 200 jobs over the state at URL, of which a few run each second.
With WHOLE they go on for minutes, and each has a time in every one. What they do they write at the
end of FILE, a line each, in one write: so the lines are in the order in which it was done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import spark_core_scheduler
from spark_core_scheduler.command import serve
from spark_core_scheduler.current import current
from spark_core_scheduler.settings import SchedulerSettings

from spark_core import Effect, Operation
from spark_core.declarations import Job
from spark_core.listening import listen
from spark_core.operations import Empty
from spark_core.plugins import Plugin
from spark_core.settings import Source
from spark_core.spark import compose
from spark_core.testing.plugins import installed, plugin

EACH_SECOND, JOBS = 10, 200


def jobs(whole: bool) -> Iterable[Job]:
    minutely = ("every 1m", "cron * * * * *") if whole else ("every 1m",)
    for number in range(JOBS):
        when = "every 0m" if number < EACH_SECOND else minutely[number % len(minutely)]
        yield Job(f"job{number}", when, "probe.work", timeout=60)


def main(url: str, file: str, whole: str, lease: str) -> None:
    log = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    random.seed(os.getpid())

    def write(what: str) -> None:
        now = current.get()
        assert now is not None
        line = f"{what} {now.run.job} {now.run.fire_at.isoformat()} {now.lease.fence} {now.run.id}"
        os.write(log, f"{line}\n".encode())

    async def work(request: Empty) -> Empty:
        """Do something, bit by bit."""
        write("begin")
        for _ in range(random.randrange(1, 8)):
            await asyncio.sleep(random.random() * 0.2)
            write("beat")
        write("end")
        return Empty()

    probe = plugin(
        "probe",
        spark_register_operations=lambda: [Operation("probe.work", work, Effect.READ)],
        spark_register_jobs=lambda: jobs(whole == "whole"),
    )
    scheduler = Plugin("scheduler", "spark-core-scheduler", "0", module=spark_core_scheduler)
    settings = {"lease_s": float(lease), "drain_s": 1}
    toml = {"state": {"url": url}, "plugins": {"scheduler": settings}}
    source = Source(None, Path(file).parent, toml, {}, {})
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    spark = compose(source, plugins=installed(scheduler, probe))
    with listen("127.0.0.1", 0) as listener:
        asyncio.run(serve(spark, spark.settings.section(SchedulerSettings), listener))


if __name__ == "__main__":
    main(*sys.argv[1:])
