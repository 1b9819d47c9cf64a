"""What is opened when the app starts, and closed when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from falcon.testing import ASGIConductor
from pydantic import BaseModel
from spark_core_http import create_app, lifetime

from spark_core import BackgroundService, Effect, Operation, Resource
from spark_core.errors import Unavailable
from spark_core.operations import Empty
from spark_core.state import State

pytestmark = pytest.mark.anyio

EVENTS: list[str] = []
RUNNING = asyncio.Event()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch) -> None:
    EVENTS.clear()
    monkeypatch.setitem(globals(), "RUNNING", asyncio.Event())


class Thing:
    """Something with a lifetime."""


class Done(BaseModel):
    pass


@asynccontextmanager
async def open_thing() -> AsyncIterator[Thing]:
    EVENTS.append("opened")
    yield Thing()
    EVENTS.append("closed")


async def use(request: Empty, thing: Thing) -> Done:
    """Use the thing."""
    return Done()


async def serve_in_background(thing: Thing) -> None:
    RUNNING.set()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        EVENTS.append("cancelled")


USE = Operation("use", use, Effect.READ)
THING = Resource(Thing, open_thing)
SERVICE = BackgroundService("watch", serve_in_background)


async def test_nothing_is_opened_before_it_is_needed_and_all_is_closed_at_the_end(
    make_spark,
) -> None:
    app = create_app(spark=make_spark(USE, resources=[THING]))
    async with ASGIConductor(app) as client:
        assert EVENTS == []
        for _ in range(2):
            await client.simulate_post("/api/use")
        assert EVENTS == ["opened"]
    assert EVENTS == ["opened", "closed"]


async def test_an_app_that_is_started_again_opens_everything_anew(make_spark) -> None:
    app = create_app(spark=make_spark(USE, resources=[THING]))
    for _ in range(2):
        async with ASGIConductor(app) as client:
            await client.simulate_post("/api/use")
    assert EVENTS == ["opened", "closed"] * 2


async def test_background_services_run_while_the_app_does(make_spark) -> None:
    app = create_app(spark=make_spark(resources=[THING], background_services=[SERVICE]))
    async with ASGIConductor(app) as client:
        await asyncio.wait_for(RUNNING.wait(), 10)
        listed = await client.simulate_get("/api/background")
        assert listed.json["services"][0]["fence"] == 1
    assert EVENTS == ["opened", "cancelled", "closed"]


async def test_background_services_wait_for_a_state_that_is_away(make_spark, monkeypatch) -> None:
    monkeypatch.setattr(lifetime, "PAUSE", 0.001)
    tries = []
    opened = State.open

    @asynccontextmanager
    async def away(*arguments) -> AsyncIterator[State]:
        tries.append(arguments)
        if len(tries) < 3:
            raise Unavailable("away")
        async with opened(*arguments) as state:
            yield state

    monkeypatch.setattr(State, "open", away)
    app = create_app(spark=make_spark(resources=[THING], background_services=[SERVICE]))
    async with ASGIConductor(app):
        await asyncio.wait_for(RUNNING.wait(), 10)
    assert len(tries) == 3


async def test_wrong_state_settings_stop_the_start_in_one_line(make_spark) -> None:
    toml = {"state": {"url": "postgresql+nodriver://user:secret@localhost/x"}}
    said = await start(create_app(spark=make_spark(toml=toml, background_services=[SERVICE])))
    assert said[0]["type"] == "lifespan.startup.failed"
    assert said[0]["message"].startswith("[state] url")
    assert len(said[0]["message"].splitlines()) == 1


@pytest.mark.parametrize(("file", "says"), [("spark.toml", "[http] port"), ("no.toml", "no.toml")])
async def test_wrong_settings_stop_the_start_in_one_line(tmp_path, file: str, says: str) -> None:
    (tmp_path / "spark.toml").write_text("[http]\nport = 'many'\n")
    said = await start(create_app(tmp_path / file))
    assert said[0]["type"] == "lifespan.startup.failed"
    assert says in said[0]["message"]
    assert len(said[0]["message"].splitlines()) == 1


async def start(app) -> list[dict[str, str]]:
    """What *app* says when a server starts it."""
    said: list[dict[str, str]] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(event: dict[str, str]) -> None:
        said.append(event)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    return said
