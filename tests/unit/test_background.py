"""Background services: each runs in exactly one of all that try, and goes on elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from spark_core import background
from spark_core.clock import SystemClock
from spark_core.contracts.embedding import Embedder
from spark_core.declarations import BackgroundService
from spark_core.errors import LeaseHeld
from spark_core.spark import Spark
from spark_core.state import Lease, Leases, State
from spark_core.testing.clock import ManualClock
from spark_core.testing.plugins import SparkOpener

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """What never happens fails the test instead of hanging it."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    handle = loop.call_later(60, task.cancel)
    yield
    handle.cancel()


@pytest.fixture
async def spark(spark_open: SparkOpener) -> AsyncIterator[Spark]:
    async with spark_open() as spark:
        yield spark


class ObservedLeases(Leases):
    """Leases that say when somebody tried in vain."""

    def __init__(self, state: State) -> None:
        super().__init__(state, SystemClock())
        self.refused = asyncio.Event()

    async def acquire(self, name: str, ttl: float, *, holder: str | None = None) -> Lease:
        try:
            return await super().acquire(name, ttl, holder=holder)
        except LeaseHeld:
            self.refused.set()
            raise


async def leases_of(spark: Spark) -> ObservedLeases:
    return ObservedLeases(await spark.resolver.get(State))


def service(run: Callable[..., Awaitable[None]], ttl: float = 1.5) -> BackgroundService:
    return BackgroundService("outbox", run, ttl)


async def test_what_is_to_be_everywhere_runs_in_each(spark: Spark) -> None:
    """Without a lease; one that returns is started again."""
    runs: asyncio.Queue[int] = asyncio.Queue()

    async def run() -> None:
        runs.put_nowait(1)

    everywhere = BackgroundService("probe", run, 0.03, everywhere=True)
    leases = await leases_of(spark)
    async with (
        background.running([everywhere], spark.resolver, leases),
        background.running([everywhere], spark.resolver, leases),
    ):
        for _ in range(4):
            await runs.get()
    assert await leases.current("background:probe") is None


async def test_one_of_many_runs_it(spark: Spark) -> None:
    """Four runners try, again and again, and one service runs."""
    running = 0

    async def run() -> None:
        nonlocal running
        running += 1
        await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        contenders = [await leases_of(spark) for _ in range(4)]
        for leases in contenders:
            await stack.enter_async_context(
                background.running([service(run, 0.6)], spark.resolver, leases)
            )
        for _ in range(2):
            waiting = [asyncio.create_task(leases.refused.wait()) for leases in contenders]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task, leases in zip(waiting, contenders, strict=True):
                task.cancel()
                leases.refused.clear()
        assert running == 1


async def test_its_needs_are_filled(spark: Spark) -> None:
    """A service gets what it names by type, its own lease among it."""
    got: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

    async def run(lease: Lease, leases: Leases) -> None:
        got.set_result(lease)
        await asyncio.Event().wait()

    async with background.running([service(run)], spark.resolver, await leases_of(spark)):
        assert (await got).name == "background:outbox"


async def test_at_the_end_it_is_cancelled_and_free(spark: Spark) -> None:
    """Whoever leaves stops the service and gives the lease back, so another need not wait."""
    started, stopped = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    leases = await leases_of(spark)
    async with background.running([service(run)], spark.resolver, leases):
        await started.wait()
    assert stopped.is_set()
    assert await leases.current("background:outbox") is None


async def test_one_that_fails_is_started_again(
    spark: Spark, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that raises is named in the log, and tried again after a pause."""
    starts, again = 0, asyncio.Event()

    async def run() -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise ZeroDivisionError
        again.set()
        await asyncio.Event().wait()

    async with background.running([service(run, 0.3)], spark.resolver, await leases_of(spark)):
        await again.wait()
    assert "background service outbox failed" in caplog.text


class Panic(BaseException):
    """As native extensions raise: no Exception."""


@pytest.mark.parametrize("ending", [SystemExit, Panic])
async def test_one_that_ends_the_program_is_started_again(
    spark: Spark, caplog: pytest.LogCaptureFixture, ending: type[BaseException]
) -> None:
    """It is that service's failure, and neither the host nor the other services end."""
    again = asyncio.Event()
    endings = [ending]

    async def run() -> None:
        if endings:
            raise endings.pop()
        again.set()
        await asyncio.Event().wait()

    async with background.running([service(run, 0.3)], spark.resolver, await leases_of(spark)):
        await again.wait()
    assert f"background service outbox failed; it is started again ({ending.__name__})" in (
        caplog.text
    )


async def test_one_that_returns_is_started_again(spark: Spark) -> None:
    """Returning is no way out: what must run runs again."""
    starts, twice = 0, asyncio.Event()

    async def run() -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            twice.set()

    async with background.running([service(run, 0.3)], spark.resolver, await leases_of(spark)):
        await twice.wait()


async def test_one_failing_service_does_not_disturb_another(spark: Spark) -> None:
    """Each service has a lease and a life of its own."""
    started = asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def run() -> None:
        started.set()

    services = [BackgroundService("bad", fail), BackgroundService("good", run)]
    async with background.running(services, spark.resolver, await leases_of(spark)):
        await started.wait()


async def test_what_is_not_configured_waits_quietly(
    spark: Spark, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing configured a host starts without complaints about it."""
    tried = asyncio.Event()

    async def run(embedder: Embedder) -> None:
        pytest.fail("there is no embedder")

    class Watched(ObservedLeases):
        async def release(self, lease: Lease) -> None:
            await super().release(lease)
            tried.set()

    leases = Watched(await spark.resolver.get(State))
    async with background.running([service(run)], spark.resolver, leases):
        await tried.wait()
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_a_lost_lease_cancels_it(spark: Spark) -> None:
    """Where another process has taken the lease, the service stops here."""
    started, stopped = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    leases = await leases_of(spark)
    state = await spark.resolver.get(State)
    async with background.running([service(run)], spark.resolver, leases):
        await started.wait()
        taken = "UPDATE leases SET fence = fence + 1, holder = 'another host'"
        await state.write(lambda c: c.exec_driver_sql(taken))
        await stopped.wait()
        await leases.refused.wait()
    holder = await leases.current("background:outbox")
    assert holder is None or holder.holder == "another host"


async def test_a_standby_takes_over_within_the_time_to_live(
    spark: Spark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead holder leaves runs out, and a standby tries again, in no more than that."""
    clock, ttl, pauses = ManualClock(), 60.0, list[float]()
    leases = Leases(await spark.resolver.get(State), clock)
    held, taken_over, leased = asyncio.Event(), asyncio.Event(), list[Lease]()

    async def run(lease: Lease) -> None:
        leased.append(lease)
        (taken_over if held.is_set() else held).set()
        await asyncio.Event().wait()

    async def pause(seconds: float) -> None:
        """It passes at once."""
        pauses.append(seconds)
        clock.advance(seconds)

    async def hold_on(lease: Lease) -> None:
        """The dead give nothing back."""

    dead = Leases(await spark.resolver.get(State), clock)
    monkeypatch.setattr(dead, "release", hold_on)
    async with background.running([service(run, ttl)], spark.resolver, dead):
        await held.wait()
        died = clock.now()
    async with background.running([service(run, ttl)], spark.resolver, leases, pause=pause):
        await taken_over.wait()
    first, second = leased
    assert second.fence == first.fence + 1
    left = (first.expires_at - died).total_seconds()
    assert 0 < left + max(pauses) <= ttl


RUN = """
import asyncio, sys
import spark_core
from spark_core import background
from spark_core.clock import SystemClock
from spark_core.declarations import BackgroundService
from spark_core.state import Leases, State

async def run():
    print("running", flush=True)
    await asyncio.Event().wait()

async def main():
    async with spark_core.open() as spark:
        leases = Leases(await spark.resolver.get(State), SystemClock())
        service = BackgroundService("outbox", run, ttl=1.5)
        async with background.running([service], spark.resolver, leases):
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_another_takes_over_when_the_process_dies(spark: Spark, spark_home: Path) -> None:
    """A process killed in the middle gives nothing back; a standby goes on all the same."""
    started = asyncio.Event()

    async def run(lease: Lease) -> None:
        started.set()
        await asyncio.Event().wait()

    leases = await leases_of(spark)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, cwd=spark_home, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"running\n"
    first = await leases.current("background:outbox")
    assert first is not None
    async with background.running([service(run)], spark.resolver, leases):
        await leases.refused.wait()
        assert not started.is_set()
        process.kill()
        await started.wait()
        second = await leases.current("background:outbox")
    await process.wait()
    assert second is not None
    assert second.fence > first.fence
