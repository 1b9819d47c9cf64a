"""The log of outages, and the probe that writes it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import spark_core_lab

from spark_core.declarations import StateSchema
from spark_core.errors import Unavailable
from spark_core.gateway import probing
from spark_core.gateway.admission import Ticket
from spark_core.gateway.backends import Backend
from spark_core.gateway.operations import health
from spark_core.gateway.outages import OutageLog
from spark_core.gateway.probing import Probe, is_local_name, probe_backends
from spark_core.gateway.relays import CHAT
from spark_core.gateway.table import Sighting
from spark_core.gateway.upstream import Exhausted, Refused
from spark_core.settings import DataDirectory
from spark_core.state import State
from spark_core.testing.clock import ManualClock

from .conftest import OpenGateway, backend

pytestmark = pytest.mark.anyio

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def log(tmp_path: Path, spark_clock: ManualClock) -> AsyncIterator[OutageLog]:
    schemas = [StateSchema("gateway", "spark_core.gateway.migrations")]
    async with State.open(tmp_path / "state.db", schemas) as state:
        yield OutageLog(state, spark_clock)


async def test_item_15_an_outage_has_a_start_an_end_and_who_saw_it(log: OutageLog) -> None:
    await log.begin("one", NOON, "probe")
    await log.end("one", NOON + timedelta(seconds=1.5))
    [outage] = await log.newest()
    assert (outage.backend, outage.start, outage.seen_by) == ("one", NOON, "probe")
    assert outage.duration_s == 1.5


async def test_an_outage_that_goes_on_has_no_end_and_lasts_until_now(
    log: OutageLog, spark_clock: ManualClock
) -> None:
    await log.begin("one", spark_clock.now() - timedelta(seconds=90), "probe")
    [outage] = await log.newest()
    assert (outage.end, outage.duration_s) == (None, 90.0)


async def test_an_outage_that_goes_on_is_not_begun_again(log: OutageLog) -> None:
    await log.begin("one", NOON, "request")
    await log.begin("one", NOON + timedelta(seconds=1), "probe")
    assert [outage.seen_by for outage in await log.newest()] == ["request"]


async def test_the_newest_outages_come_first_and_can_be_chosen(log: OutageLog) -> None:
    for second, name in enumerate(["one", "two", "one"]):
        start = NOON + timedelta(minutes=second)
        await log.begin(name, start, "probe")
        await log.end(name, start + timedelta(seconds=5))
    assert [outage.backend for outage in await log.newest()] == ["one", "two", "one"]
    assert len(await log.newest(backend="one")) == 2
    assert len(await log.newest(since=NOON + timedelta(seconds=30))) == 2
    assert len(await log.newest(limit=1)) == 1


# ------------------------------------------------------------------------------------- the probe


class Switch:
    """Takes connections, or not."""

    def __init__(self) -> None:
        self.up = True

    async def __call__(self, backend: Backend) -> bool:
        return self.up


async def test_the_probe_writes_down_when_a_backend_goes_and_comes_back(
    log: OutageLog, open_gateway: OpenGateway
) -> None:
    one, switch = backend(), Switch()
    async with open_gateway(one) as gateway:
        probe = Probe(gateway, one, log, connect=switch)
        for switch.up in (True, False, False, True, True):
            await probe.look()
        await probe.write()
    [outage] = await log.newest()
    assert outage.end is not None
    assert outage.seen_by == "probe"


async def test_e1_an_outage_between_two_looks_is_found_by_the_request_that_failed(
    log: OutageLog, open_gateway: OpenGateway
) -> None:
    one = backend()
    async with open_gateway(one) as gateway, open_gateway(one) as of_another_process:
        probe = Probe(gateway, one, log, connect=Switch())
        await probe.look()
        of_another_process.failed(one, Refused("it cannot be reached"))
        await probe.look()
        await probe.look()
        await probe.write()
    [outage] = await log.newest()
    assert outage.end is not None
    assert outage.seen_by == "request"


async def test_no_outage_is_written_down_while_the_door_is_closed(
    log: OutageLog, open_gateway: OpenGateway
) -> None:
    one, switch = backend(), Switch()
    async with open_gateway(one) as gateway:
        probe = Probe(gateway, one, log, connect=switch)
        gateway.admission.close("one", time.time() + 3600)
        switch.up = False
        await probe.look()
        gateway.failed(one, Refused("it cannot be reached"))
        await probe.look()
        switch.up = True
        gateway.admission.open("one")
        await probe.look()
        await probe.write()
        assert await log.newest() == []
        switch.up = False
        await probe.look()
        await probe.write()
    assert [outage.seen_by for outage in await log.newest()] == ["probe"]


async def test_a_probe_that_takes_over_ends_the_outage_that_goes_on(
    log: OutageLog, open_gateway: OpenGateway
) -> None:
    await log.begin("one", NOON, "probe")
    one = backend()
    async with open_gateway(one) as gateway:
        going_on = await log.going_on()
        probe = Probe(gateway, one, log, going_on["one"], connect=Switch())
        await probe.look()
        await probe.write()
    assert await log.going_on() == {}


async def test_e1_a_probe_that_takes_over_finds_what_others_saw_before(
    log: OutageLog, open_gateway: OpenGateway
) -> None:
    """The one before it died, and a request failed until somebody looked again."""
    one = backend()
    async with open_gateway(one) as gateway:
        await Probe(gateway, one, log, connect=Switch()).look()
        gateway.failed(one, Refused("it cannot be reached"))
        probe = Probe(gateway, one, log, connect=Switch())
        await probe.look()
        await probe.write()
        again = Probe(gateway, one, log, connect=Switch())
        await again.look()
        await again.write()
    [outage] = await log.newest()
    assert outage.end is not None
    assert outage.seen_by == "request"


async def test_e1_an_outage_is_no_longer_because_the_log_could_not_be_written(
    log: OutageLog, open_gateway: OpenGateway, tmp_path: Path
) -> None:
    one, switch = backend(), Switch()
    switch.up = False
    async with open_gateway(one) as gateway:
        probe = Probe(gateway, one, log, connect=switch)
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await probe.look()
            writing = asyncio.create_task(probe.write())
            switch.up = True
            await probe.look()
            back = datetime.now(UTC)
            assert not writing.done()
            other.execute("COMMIT")
        await writing
    [outage] = await log.newest()
    assert outage.end is not None
    assert outage.end <= back


async def test_what_could_not_be_written_is_written_later(open_gateway: OpenGateway) -> None:
    class Broken(OutageLog):
        async def begin(self, backend: str, start: datetime, seen_by: str) -> None:
            began.append(start)
            if len(began) == 1:
                raise Unavailable("the state is away")

    one, switch, began = backend(), Switch(), list[datetime]()
    switch.up = False
    async with open_gateway(one) as gateway:
        probe = Probe(gateway, one, Broken.__new__(Broken), connect=switch)
        await probe.look()
        with pytest.raises(Unavailable):
            await probe.write()
        await probe.write()
    assert began == [probe.down_since] * 2


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_to_be_out_of_files_is_no_outage_of_a_backend(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Neither to the probe, nor to a request."""

    async def none_left(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "create_connection", none_left)
    one = backend(models=("m",))
    async with open_gateway(one) as gateway:
        probe = Probe(gateway, one, cast(OutageLog, None))
        await probe.look()
        await probe.look_at_health()
        with pytest.raises(Exhausted):
            await gateway.request(CHAT, {}, Ticket(), model="m")
        assert max(gateway.admission.sightings("one")) == 0


async def test_a_backend_whose_name_none_can_have_is_down_and_the_others_are_watched(
    log: OutageLog, open_gateway: OpenGateway, tmp_path: Path
) -> None:
    async with spark_core_lab.start("vllm") as lab:
        wrong, right = backend("wrong", url="http://spark..lan"), backend("right", lab.vllm.url)
        async with open_gateway(wrong, right) as gateway:
            watching = asyncio.create_task(probe_backends(gateway, log, DataDirectory(tmp_path)))
            async with asyncio.timeout(30):
                while not (  # noqa: ASYNC110
                    gateway.admission.sightings("right").up
                    and gateway.admission.sightings("wrong").down
                ):
                    await asyncio.sleep(0.01)  # the table tells nobody
            assert not watching.done()
            watching.cancel()
            with pytest.raises(Refused, match="no host can have that name"):
                await gateway.upstream("wrong").ask(b"GET", b"/", (), first_byte_s=1)


async def test_a_probe_that_fails_goes_on(
    log: OutageLog,
    open_gateway: OpenGateway,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks, again = 0, asyncio.Event()

    async def breaks_once(_: Backend) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("private")
        again.set()
        return True

    monkeypatch.setattr(probing, "AGAIN", 0.0)
    one = backend()
    async with open_gateway(one) as gateway:
        running = asyncio.create_task(Probe(gateway, one, log, connect=breaks_once).run())
        await asyncio.wait_for(again.wait(), 30)
        running.cancel()
        await asyncio.wait([running])
    assert "the probe of one failed, and goes on (RuntimeError)" in caplog.text
    assert "private" not in caplog.text


async def test_one_process_probes_and_the_next_one_when_it_is_gone(
    log: OutageLog, open_gateway: OpenGateway, tmp_path: Path
) -> None:
    """Each process has its gateway; the lock is told apart by who opened the file."""
    await log.begin("gone", NOON, "probe")
    data = DataDirectory(tmp_path)
    async with open_gateway(backend()) as one, open_gateway(backend()) as other:
        first = asyncio.create_task(probe_backends(one, log, data))
        async with asyncio.timeout(30):
            while "gone" in await log.going_on():  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # the log tells nobody
        await log.begin("gone", NOON, "probe")
        second = asyncio.create_task(probe_backends(other, log, data))
        await asyncio.sleep(0)
        first.cancel()
        assert "gone" in await log.going_on()  # the second one waits
        async with asyncio.timeout(30):
            while "gone" in await log.going_on():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([first, second])


async def test_a_backend_that_is_no_longer_configured_has_no_outage_that_goes_on(
    log: OutageLog, open_gateway: OpenGateway, tmp_path: Path
) -> None:
    await log.begin("gone", NOON, "probe")
    async with open_gateway() as gateway:
        await probe_backends(gateway, log, DataDirectory(tmp_path))
    assert await log.going_on() == {}


async def test_a_kind_that_is_not_probed_hears_of_nobody_but_callers(
    log: OutageLog, open_gateway: OpenGateway, tmp_path: Path
) -> None:
    async with open_gateway(backend(probed=False)) as gateway:
        await probe_backends(gateway, log, DataDirectory(tmp_path))  # it has nothing to do
        assert (await health(gateway)).status == "ok"  # what is not known says nothing


@pytest.mark.parametrize("host", ["spark.local", "spark.local."])
async def test_a_name_that_takes_seconds_to_look_up_is_not_probed(
    log: OutageLog, open_gateway: OpenGateway, tmp_path: Path, host: str
) -> None:
    one = backend(url=f"http://{host}:8888")
    assert is_local_name(one)
    async with open_gateway(one) as gateway:
        await probe_backends(gateway, log, DataDirectory(tmp_path))  # it has nothing to do
        assert max(gateway.admission.sightings("one")) == 0


async def test_the_probe_sees_a_server_and_its_health(open_gateway: OpenGateway) -> None:
    async with spark_core_lab.start("vllm") as lab:
        one = backend(url=lab.vllm.url)
        async with open_gateway(one) as gateway:
            probe = Probe(gateway, one, cast(OutageLog, None))
            await probe.look()
            await probe.look_at_health()
            seen = gateway.admission.sightings("one")
    assert seen.up > 0
    assert seen.well > 0


async def test_a_server_that_refuses_connections_is_seen_as_down(
    log: OutageLog, open_gateway: OpenGateway
) -> None:
    one = backend(url="http://127.0.0.1:1")
    async with open_gateway(one) as gateway:
        await Probe(gateway, one, log).look()
        seen = gateway.admission.sightings("one")
    assert seen[Sighting.DOWN] > seen[Sighting.UP]


async def test_item_14_a_server_that_neither_takes_nor_refuses_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A queue of connections that nobody accepts is full, and the next one hangs."""
    monkeypatch.setattr(probing, "CONNECT", 0.05)
    with socket.socket() as server, ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        one = backend(url=f"http://127.0.0.1:{server.getsockname()[1]}")
        assert not await probing.takes_connections(one)
