"""Several schedulers over one state, killed, stopped and put to sleep at random.

Each fire time runs at least once; no two runs of it go on at the same moment; and nothing is done
under a fencing number after a higher one was seen.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from spark_core_scheduler.book import MOST_TRIES, Book, Entry, Run, RunState

from spark_core.clock import SystemClock
from spark_core.declarations import StateSchema
from spark_core.state import Leases, State

from .probe import EACH_SECOND, JOBS

PROBE = Path(__file__).with_name("probe.py")

#: How long the short test and the long one go on.
SHORT = float(os.environ.get("SPARK_CHAOS_SHORT_SECONDS", "4"))
LONG = float(os.environ.get("SPARK_CHAOS_SECONDS", "600"))


@dataclass
class Herd:
    """Processes of which some number is kept alive."""

    command: Sequence[str]
    size: int
    log: Path
    random: random.Random
    stack: ExitStack
    alive: list[subprocess.Popen[bytes]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def fill(self) -> None:
        self.codes += [p.returncode for p in self.alive if p.poll() is not None]
        self.alive = [process for process in self.alive if process.poll() is None]
        while len(self.alive) < self.size:
            out = self.stack.enter_context(self.log.open("ab"))
            self.alive.append(subprocess.Popen(self.command, stdout=out, stderr=out))

    def disturb(self, lease: float) -> None:
        """Kill one, ask one to stop, or let one sleep for longer than a lease lives."""
        victim = self.random.choice(self.alive)
        what = self.random.choice(["kill", "stop", "sleep"])
        if what == "kill":
            victim.kill()
        elif what == "stop":
            victim.terminate()
        else:
            victim.send_signal(signal.SIGSTOP)
            time.sleep(lease * 1.6)
            victim.send_signal(signal.SIGCONT)

    def end(self) -> None:
        for process in self.alive:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.alive:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def chaos(herd: Herd, done: Path, seconds: float, lease: float) -> None:
    try:
        herd.fill()
        wait_for(done, fence=1)
        for process in herd.alive:  # so that at least once somebody has to take over
            process.kill()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            herd.fill()
            time.sleep(herd.random.uniform(0.5, 2.5 * lease))
            herd.disturb(lease)
            time.sleep(herd.random.uniform(0, 0.5))
        herd.fill()
        wait_for(done, fence=2)
    finally:
        herd.end()


def wait_for(done: Path, fence: int) -> None:
    """Until something was done under *fence* or a higher one."""
    end = time.monotonic() + 120
    while not (done.exists() and any(line.fence >= fence for line in lines(done))):
        assert time.monotonic() < end, "nothing is done"
        time.sleep(0.2)


@dataclass(frozen=True)
class Line:
    """One thing that was done."""

    what: str
    job: str
    fire_at: str
    fence: int
    run: str


def lines(file: Path) -> Iterator[Line]:
    for text in file.read_text().split("\n")[:-1]:  # each was written whole
        what, job, fire_at, fence, run = text.split(" ")
        yield Line(what, job, fire_at, int(fence), run)


async def book_of(url: str) -> tuple[dict[str, Entry], Sequence[Run]]:
    async with State.open(
        url, [StateSchema("scheduler", "spark_core_scheduler.migrations")]
    ) as state:
        book = Book(state, Leases(state, SystemClock()), SystemClock())
        return dict(await book.entries()), await book.runs(limit=10**6)


def check_done(done: Sequence[Line]) -> None:
    """What the jobs wrote themselves."""
    assert all(one.fence <= two.fence for one, two in pairwise(done)), "done under a lost fence"
    at_work: dict[tuple[str, str], str] = {}
    for line in done:
        fire = (line.job, line.fire_at)
        if line.what == "begin":
            at_work[fire] = line.run
        assert at_work[fire] == line.run, f"two runs of {fire} at the same moment"


def check_book(entries: dict[str, Entry], runs: Sequence[Run], done: Sequence[Line]) -> None:
    """Each fire time was run whole, or is pending, or is counted as missed by the next."""
    ended = {line.run for line in done if line.what == "end"}
    fires: dict[str, dict[datetime, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        fires[run.job][run.fire_at].append(run)
    assert len(fires) == JOBS
    for job, of_job in fires.items():
        for at, tries in of_job.items():
            if entries[job].pending_at != at:
                assert [run.state for run in tries].count(RunState.OK) == 1, (job, at, tries)
            lost = [run for run in tries if run.state is not RunState.INTERRUPTED]
            assert len(lost) <= MOST_TRIES
        assert all(run.id in ended for t in of_job.values() for run in t if run.state == "ok")
        period = timedelta(seconds=1 if int(job.removeprefix("job")) < EACH_SECOND else 60)
        for one, two in pairwise(sorted(of_job)):
            between = 0 if len(of_job) < 2 else of_job[two][0].missed
            assert two - one == (between + 1) * period, (job, one, two, between)


def run_chaos(url: str, size: int, seconds: float, lease: float, folder: Path) -> Sequence[Run]:
    whole = "whole" if seconds > 60 else "short"
    done, log = folder / "done", folder / "log"
    with ExitStack() as stack:
        command = [sys.executable, str(PROBE), url, str(done), whole, str(lease)]
        seed = int(os.environ.get("SPARK_CHAOS_SEED", "7"))
        herd = Herd(command, size, log, random.Random(seed), stack)
        chaos(herd, done, seconds, lease)
    found = list(lines(done))
    check_done(found)
    entries, runs = asyncio.run(book_of(url))
    check_book(entries, runs, found)
    return runs


def test_killed_at_random_each_fire_time_is_run_and_never_twice_at_once(
    tmp_path: Path, postgresql_url: str
) -> None:
    """Three processes over PostgreSQL, and at the same time two over SQLite."""
    folders = [tmp_path / name for name in ("postgresql", "sqlite")]
    for folder in folders:
        folder.mkdir()
    urls = (postgresql_url, f"sqlite:///{folders[1] / 'state.db'}")
    with ThreadPoolExecutor(2) as pool:
        sizes, seconds, leases = (3, 2), (SHORT, SHORT), (1.5, 1.5)
        assert all(pool.map(run_chaos, urls, sizes, seconds, leases, folders))


@pytest.mark.slow
def test_ten_minutes_of_three_processes_over_postgresql(
    tmp_path: Path, postgresql_url: str
) -> None:
    """And of the jobs of each minute none is missed, whoever is killed."""
    runs = run_chaos(postgresql_url, 3, LONG, 5.0, tmp_path)
    minutely = [run for run in runs if int(run.job.removeprefix("job")) >= EACH_SECOND]
    assert [run for run in minutely if run.missed] == []


@pytest.mark.slow
def test_ten_minutes_of_two_processes_over_sqlite(tmp_path: Path) -> None:
    runs = run_chaos(f"sqlite:///{tmp_path / 'state.db'}", 2, LONG, 5.0, tmp_path)
    minutely = [run for run in runs if int(run.job.removeprefix("job")) >= EACH_SECOND]
    assert [run for run in minutely if run.missed] == []
