"""How late jobs begin: 200 of them, one of which is blocked all the while. Real clock and state.

Run it with ``python tests/benchmarks/scheduler.py [--seconds 180] [--url URL]``. A job's delay is
from its fire time to the moment when its own code runs. The jobs of one minute come all at the
same moment, which is the worst that there is.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import spark_core_scheduler
from spark_core_scheduler.current import current
from spark_core_scheduler.leading import Pulse, schedule

from spark_core import Effect, Operation
from spark_core.declarations import Job
from spark_core.operations import Empty
from spark_core.plugins import Plugin
from spark_core.settings import Source
from spark_core.spark import compose
from spark_core.testing.plugins import installed, plugin

sys.path.insert(0, str(Path(__file__).parent))
from tables import show

JOBS = 200
KINDS = {"interval": "every 1m", "cron": "cron * * * * *", "each second": "every 0m"}


def jobs() -> Iterable[Job]:
    """Most come each minute at one moment; five come each second; one is blocked."""
    yield Job("blocked", "every 9999h", "probe.blocked", timeout=3600)
    for number in range(1, JOBS):
        kind = "each second" if number <= 5 else ("interval", "cron")[number % 2]
        yield Job(f"{kind} {number}", KINDS[kind], "probe.work")


async def measure(url: str, seconds: float) -> dict[str, list[float]]:
    """The delays of each kind of job, in seconds."""
    delays: dict[str, list[float]] = defaultdict(list)

    async def work(request: Empty) -> Empty:
        """Note how late it is, and take a while."""
        now = current.get()
        assert now is not None
        late = (datetime.now(UTC) - now.run.fire_at).total_seconds()
        delays[now.run.job.rpartition(" ")[0]].append(late)
        await asyncio.sleep(0.05)
        return Empty()

    async def blocked(request: Empty) -> Empty:
        """Never end."""
        await asyncio.Event().wait()
        return Empty()

    probe = plugin(
        "probe",
        spark_register_operations=lambda: [
            Operation("probe.work", work, Effect.READ),
            Operation("probe.blocked", blocked, Effect.READ),
        ],
        spark_register_jobs=jobs,
    )
    scheduler = Plugin("scheduler", "spark-core-scheduler", "0", module=spark_core_scheduler)
    toml = {"state": {"url": url}, "plugins": {"scheduler": {"drain_s": 0}}}
    spark = compose(Source(None, Path.cwd(), toml, {}, {}), plugins=installed(scheduler, probe))
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    try:
        await schedule(spark, stop, Pulse())
    finally:
        await spark.resolver.aclose()
    return delays


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=185.0)
    parser.add_argument("--url", help="the state; by default SQLite in a folder of its own")
    parser.add_argument("--quick", action="store_true", help="for a minute or so")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/state.db"
        delays = asyncio.run(measure(url, 65.0 if arguments.quick else arguments.seconds))
    delays["all"] = [delay for found in delays.values() for delay in found]
    rows = []
    for kind, found in delays.items():
        cuts = statistics.quantiles(found, n=100)
        cells = [f"{cut * 1000:.0f} ms" for cut in (cuts[49], cuts[98], max(found))]
        rows.append((kind, len(found), *cells))
    title = f"Delay of {JOBS} jobs, one of them blocked"
    show(title, ("jobs", "runs", "median", "99th percentile", "worst"), rows)


if __name__ == "__main__":
    main()
