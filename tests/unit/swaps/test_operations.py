"""``spark swap`` with a server and without one: a swap that was begun is never left to nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import spark_core_vllm

import spark_core.gateway.plugin
import spark_core.swaps.plugin
from spark_core.contracts.model_hosts import ModelHost
from spark_core.declarations import Provider
from spark_core.errors import BackendError, Forbidden, Locked, NotConfigured
from spark_core.plugins import Plugin
from spark_core.spark import Caller
from spark_core.state import Lease
from spark_core.swaps import operations
from spark_core.swaps.driving import SERVICE, Swaps
from spark_core.swaps.guards import SwapGuard
from spark_core.swaps.history import SwapRuns
from spark_core.swaps.machine import Parts
from spark_core.swaps.models import Outcome, Swap, SwapEvent
from spark_core.swaps.operations import CancelRequest, EventsRequest, SwapRequest
from spark_core.testing.fake_model_host import FakeModelHost
from spark_core.testing.plugins import SparkOpener, plugin

from .swap_world import CATALOG, World

pytestmark = pytest.mark.anyio

ADA = Caller("ada")


class Silent:
    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        pass


class Reserved:
    """A guard: who shows ``sesam`` may."""

    held = False

    def check(self, connection: Any, token: str | None, now: datetime) -> None:
        if self.held and token is None:
            raise Locked("it is reserved by ada")
        if token not in (None, "sesam"):
            raise Forbidden("this token is wrong")


@pytest.fixture
def guard() -> Reserved:
    return Reserved()


@pytest.fixture
def swaps(world: World, guard: Reserved) -> Swaps:
    return make(world, world.parts, guard)


def make(world: World, parts: Parts, guard: Reserved) -> Swaps:
    guards = [SwapGuard("reservation", guard.check)]
    return Swaps(
        world.history, world.catalog, parts, guards, world.state, world.leases, world.clock
    )


@pytest.fixture
def loading() -> asyncio.Event:
    """Set when a model begins to load."""
    return asyncio.Event()


@pytest.fixture
def endless(world: World, guard: Reserved, loading: asyncio.Event) -> Swaps:
    """Swaps that load for ever."""

    async def pause(seconds: float) -> None:
        loading.set()
        await asyncio.Event().wait()

    return make(world, replace(world.parts, pause=pause), guard)


@pytest.fixture
async def server(world: World) -> Lease:
    """Somewhere a host works on swaps."""
    return await world.leases.acquire(f"background:{SERVICE}", 1e6)


def asked(model: str, **more: Any) -> SwapRequest:
    return SwapRequest(model=model, **more)


async def told(results: AsyncIterator[SwapEvent | Swap]) -> list[SwapEvent | Swap]:
    return [result async for result in results]


@pytest.mark.usefixtures("server")
async def test_with_a_server_a_swap_is_answered_at_once(world: World, swaps: Swaps) -> None:
    [begun] = await told(operations.swap(asked("small"), swaps, ADA, Silent()))
    assert isinstance(begun, Swap)
    assert begun.outcome is None
    assert world.host.launches == []


async def test_without_a_server_a_swap_is_worked_on_by_who_asked_for_it(swaps: Swaps) -> None:
    first, *_, last = await told(operations.swap(asked("small"), swaps, ADA, Silent()))
    assert isinstance(first, Swap)
    assert isinstance(last, Swap)
    assert (first.outcome, last.outcome) == (None, Outcome.READY)


async def test_without_a_server_a_swap_that_fails_is_a_failure(swaps: Swaps) -> None:
    with pytest.raises(BackendError, match="refused"):
        await told(operations.swap(asked("huge"), swaps, ADA, Silent()))


async def test_a_server_that_comes_up_takes_a_swap_over(
    world: World, endless: Swaps, loading: asyncio.Event
) -> None:
    """Who asked need not wait for its end any more."""
    asking = asyncio.create_task(told(operations.swap(asked("small"), endless, ADA, Silent())))
    await loading.wait()
    await world.leases.acquire(f"background:{SERVICE}", 1e6)
    last = (await asking)[-1]
    assert isinstance(last, Swap)
    assert last.outcome is None


async def test_who_follows_a_swap_that_nobody_works_on_works_on_it(swaps: Swaps) -> None:
    begun = await swaps.begin("small", caller="ada")
    events = await told(operations.events(EventsRequest(id=begun.id), swaps, Silent()))
    assert isinstance(events[-1], SwapEvent)
    assert (events[-1].kind, events[-1].text) == ("end", "ready")


async def test_a_swap_that_nobody_works_on_is_called_off_to_its_end(swaps: Swaps) -> None:
    begun = await swaps.begin("small", caller="ada")
    called = await operations.call_off(CancelRequest(id=begun.id), swaps)
    assert called.outcome is not None


@pytest.mark.usefixtures("server")
async def test_with_a_server_calling_off_is_answered_at_once(swaps: Swaps) -> None:
    begun = await swaps.begin("small", caller="ada")
    called = await operations.call_off(CancelRequest(id=begun.id), swaps)
    assert (called.cancel, called.outcome) == (True, None)


async def test_a_holders_swap_is_called_off_by_the_holder_only(
    world: World, swaps: Swaps, guard: Reserved
) -> None:
    guard.held = True
    begun = await swaps.begin("small", caller="ada", token="sesam")
    with pytest.raises(Locked):
        await operations.call_off(CancelRequest(id=begun.id), swaps)
    assert (await world.history.find(begun.id)).cancel is False
    token = CancelRequest.model_validate({"id": begun.id, "token": "sesam"})
    assert (await operations.call_off(token, swaps)).cancel


async def test_who_cannot_begin_a_swap_is_told_how_the_one_that_nobody_works_on_goes_on(
    swaps: Swaps,
) -> None:
    begun = await swaps.begin("small", caller="ada")
    with pytest.raises(SwapRuns) as refused:
        await swaps.begin("large", caller="bob")
    assert refused.value.hint is not None
    assert refused.value.hint.endswith(f"spark swaps events {begun.id}")


@pytest.mark.parametrize("follows", [False, True])
async def test_who_breaks_off_is_told_how_the_swap_goes_on(
    world: World,
    endless: Swaps,
    loading: asyncio.Event,
    caplog: pytest.LogCaptureFixture,
    *,
    follows: bool,
) -> None:
    if follows:
        begun = await endless.begin("small", caller="ada")
        results: Any = operations.events(EventsRequest(id=begun.id), endless, Silent())
    else:
        results = operations.swap(asked("small", wait=True), endless, ADA, Silent())
    waiting = asyncio.create_task(told(results))
    await loading.wait()
    with caplog.at_level(logging.WARNING):
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    [running] = await world.history.newest()
    assert running.outcome is None
    [said] = [record.getMessage() for record in caplog.records if "goes on" in record.message]
    assert said.endswith(f"spark swaps events {running.id}")


@pytest.mark.parametrize(
    ("environ", "why", "hint"),
    [
        (
            {"SPARK1_HOST": "192.0.2.1", "DISABLED_SERVICES": "vllm"},
            "disabled",
            "DISABLED_SERVICES",
        ),
        ({}, "not configured", "url"),
    ],
)
async def test_it_is_said_why_no_backend_is_in_front_of_the_model_host(
    spark_open: SparkOpener, environ: dict[str, str], why: str, hint: str
) -> None:
    @asynccontextmanager
    async def give_host() -> AsyncIterator[ModelHost]:
        yield FakeModelHost(backend="vllm")

    hosts = plugin("x", spark_register_model_hosts=lambda: [Provider("fake", give_host)])
    (spark_open.home / "models.yaml").write_text(CATALOG)
    async with spark_open(
        Plugin("gateway", "spark-core", "0", module=spark_core.gateway.plugin),
        Plugin("swaps", "spark-core", "0", module=spark_core.swaps.plugin),
        Plugin("vllm", "spark-core-vllm", "0", module=spark_core_vllm),
        hosts,
        toml='[providers]\nmodel_host = "fake"',
        environ=environ,
    ) as spark:
        with pytest.raises(NotConfigured, match=f"the backend vllm, .* is {why}") as told:
            await spark.call("swap", {"model": "small"})
    assert hint in (told.value.hint or "")
