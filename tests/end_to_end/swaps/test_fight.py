"""Programs fight for the GPU with locks and swaps, and a server that is killed meanwhile: nothing
that they are told, and nothing that is done, breaks the rules."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from .conftest import PATIENCE, Folder, Serve, Served, eventually
from .history import Asked, Event, Happened, Row, What, violations

pytestmark = pytest.mark.anyio

#: How long they fight, in seconds, in the slow test.
LONG = float(os.environ.get("SPARK_FIGHT_S", "600"))

MODELS = ("small", "large", "small", "large", "no such model")


class Fight:
    """Who fights, and all that they were told. The server may be another one at any moment."""

    def __init__(self, url: str, seconds: float, seed: int) -> None:
        self.url = url
        self.until = time.time() + seconds
        self.random = random.Random(seed)
        self.asked: list[Asked] = []
        self.tokens = ["rubbish"]  # all that were ever given
        limits = httpx.Limits(max_keepalive_connections=0)  # so that all workers get some
        self.http = httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits)

    @property
    def goes_on(self) -> bool:
        return time.time() < self.until

    def may(self, chance: float) -> bool:
        """Whether something happens that does so with that probability."""
        return self.random.random() < chance

    async def pause(self, most: float = 0.4) -> None:
        await asyncio.sleep(self.random.uniform(0.01, most))


@dataclass
class Program:
    """One of those who fight."""

    name: str
    fight: Fight

    async def ask(
        self, what: What, token: str | None = None, *, ttl: float = 0.0, model: str = ""
    ) -> Asked | None:
        """Ask, and write down what was answered; None where nobody was there to be asked."""
        method, path, body = {
            "acquire": ("POST", "/api/swap/lock", {"holder": self.name, "ttl_s": ttl}),
            "renew": ("PUT", "/api/swap/lock", {"ttl_s": ttl}),
            "release": ("DELETE", "/api/swap/lock", None),
            "force": ("DELETE", "/api/swap/lock?force=true", None),
            "swap": ("POST", "/api/swap", {"model": model, "reason": self.name}),
        }[what]
        shown = {"x-spark-lock-token": token} if token else {}
        start = time.time()
        try:
            answer = await self.fight.http.request(method, path, json=body, headers=shown)
        except httpx.ConnectError:
            await asyncio.sleep(0.2)
            return None
        except httpx.TransportError:
            asked = Asked(self.name, what, start, time.time(), None, token, ttl, 0.0, model)
        else:
            said: dict[str, Any] = answer.json() if answer.content else {}
            asked = Asked(
                self.name,
                what,
                start,
                time.time(),
                answer.status_code,
                said.get("token", token),
                ttl,
                moment(said["expires_at"]) if answer.status_code in (200, 201) else 0.0,
                model,
                said.get("id"),
            )
        self.fight.asked.append(asked)
        return asked

    async def behave(self) -> None:
        """Reserve, swap, and let go; now and then forget to."""
        fight = self.fight
        while fight.goes_on:
            got = await self.ask("acquire", ttl=fight.random.choice((0.5, 1.0, 2.0, 4.0, 8.0)))
            if got is None or got.status != 201 or got.token is None:
                await fight.pause(1.0)
                continue
            fight.tokens.append(got.token)
            for _ in range(fight.random.randrange(1, 5)):
                await self.ask("swap", got.token, model=fight.random.choice(MODELS))
                await fight.pause(1.5)
                if fight.may(0.4):
                    await self.ask("renew", got.token, ttl=fight.random.uniform(1.0, 5.0))
            if fight.may(0.8):
                await self.ask("release", got.token)
            await fight.pause()

    async def misbehave(self) -> None:
        """Swap without asking anybody, with old tokens of others, and end what is not its own."""
        fight = self.fight
        while fight.goes_on:
            token = fight.random.choice(fight.tokens[:-2] or fight.tokens)
            model = fight.random.choice(MODELS)
            match fight.random.choice(("swap", "swap", "bluff", "release", "renew", "force", "")):
                case "swap":
                    await self.ask("swap", model=model)
                case "bluff":
                    await self.ask("swap", token, model=model)
                case "release":
                    await self.ask("release", token if fight.may(0.8) else None)
                case "renew":
                    await self.ask("renew", token, ttl=2.0)
                case "force" if fight.may(0.3):
                    await self.ask("force")
            await fight.pause()


def moment(text: str) -> float:
    """Seconds since 1970, of an ISO time or one of the database."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def happened(fight: Fight, folder: Folder) -> Happened:
    """What was told, what was written down, and what the machine says."""
    head = folder.pair[0]
    file = folder.path / ".spark/state.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as state:

        def select(query: str) -> list[tuple[Any, ...]]:
            return state.execute(query).fetchall()

        events = select(
            "SELECT swap, text, kind, at, json_extract(data, '$.back') FROM swap_events "
            "WHERE kind IN ('phase', 'end') ORDER BY id"
        )
        rows = select(
            "SELECT id, created_at, json_extract(swap, '$.ended_at'), "
            "json_extract(swap, '$.serving') FROM swaps ORDER BY number"
        )
        locked = select("SELECT kind FROM coordination_lock_events ORDER BY id")
    launches = [f.name for f in (head.home / ".spark-core/launches").iterdir()]
    return Happened(
        asked=fight.asked,
        rows=[Row(i, moment(begun), moment(ended), serving) for i, begun, ended, serving in rows],
        events=[
            Event(swap, "end" if kind == "end" else text, moment(at), bool(back))
            for swap, text, kind, at, back in events
        ],
        locked=[kind for (kind,) in locked],
        launches=[name for name in launches if not name.startswith(".")],
        containers=[(str(entry["what"]), str(entry["container"])) for entry in head.journal],
        models=frozenset(MODELS) - {"no such model"},
        answers=next(iter(folder.served()), None),
    )


async def kill_now_and_then(fight: Fight, served: Served, start: Callable[[], Served]) -> None:
    """Kill the server with all its workers, and start it again, a third of the way in and later."""
    begun = time.time()
    seconds = max((fight.until - begun) / 3, 8.0)
    while time.time() + seconds < fight.until:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(served.kill)
        served = await asyncio.to_thread(start)
        seconds = 60.0


async def fought(folder: Folder, serve: Serve, seconds: float, seed: int) -> Happened:
    """What happens in a fight; it is over when no swap runs any more."""
    folder.write(swaps="release_s = 20\ndrain_s = 5")
    served = await asyncio.to_thread(lambda: serve(workers=4))
    port = httpx.URL(served.url).port
    fight = Fight(served.url, seconds, seed)
    async with fight.http, asyncio.TaskGroup() as group:
        for name in ("ada", "bob"):
            group.create_task(Program(name, fight).behave())
        group.create_task(Program("eve", fight).misbehave())
        start = lambda: serve(workers=4, port=port)  # noqa: E731
        group.create_task(kill_now_and_then(fight, served, start))

    async def is_quiet() -> bool:
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(base_url=fight.url, timeout=PATIENCE) as http:
                return (await http.get("/api/swap")).json()["running"] is None
        return False

    await eventually(is_quiet)
    return happened(fight, folder)


def told(happened: Happened) -> dict[str, int]:
    """How often each answer was given."""
    answers = sorted(f"{each.what} {each.status}" for each in happened.asked)
    return {answer: answers.count(answer) for answer in answers}


async def test_no_rule_is_broken(folder: Folder, serve: Serve) -> None:
    """For a short time, with one restart."""
    found = await fought(folder, serve, 16.0, seed=4)
    print(told(found), len(found.rows), "swaps,", len(found.launches), "launches")
    assert violations(found) == []
    assert {"acquire 201", "acquire 409", "swap 202", "swap 423"} <= told(found).keys()


@pytest.mark.slow
async def test_no_rule_is_broken_for_long(folder: Folder, serve: Serve) -> None:
    """For ten minutes, or as ``SPARK_FIGHT_S`` says, with a restart each minute."""
    found = await fought(folder, serve, LONG, seed=random.randrange(1000))
    print(told(found), len(found.rows), "swaps,", len(found.launches), "launches")
    assert violations(found) == []
    assert {"swap 202", "swap 403", "swap 404", "swap 409", "swap 423"} <= told(found).keys()
