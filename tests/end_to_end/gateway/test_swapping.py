"""The model behind a backend is swapped while clients go on asking: none of them is let down."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from pydantic_core import from_json, to_json

from spark_core.gateway.admission import Admission, Pool, open_admission

from ...scripted import Gone, Peer, answer, serving
from .conftest import PATIENCE, Serve, Served, eventually

pytestmark = pytest.mark.anyio

#: Far beyond the end of any test.
LONG = 3600.0

#: Has models on demand in each worker: what comes of a wish is what a server of the test says.
ON_DEMAND = """
import asyncio
from contextlib import asynccontextmanager
import spark_core.swaps.plugin as plugin
from spark_core import hookimpl
from spark_core.declarations import Resource
from spark_core.errors import NotFound
from spark_core.gateway.admission import Busy
from spark_core.gateway.demand import OnDemand
from spark_core.gateway.gateway import Gateway

class Wishes:
    async def wanted(self, model, *, wait_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        try:
            writer.write(f"{model} {wait_s}\\r\\n\\r\\n".encode())
            said = await reader.readline()
        finally:
            writer.close()
        if said == b"busy\\n":
            raise Busy("it is not its turn", position=3, expected_s=42.0)
        if said != b"served\\n":
            raise NotFound("never heard of it")

    async def models(self):
        return ["old", "new"]

@asynccontextmanager
async def open_wishes(gateway: Gateway):
    yield Wishes()

offered = plugin.spark_register_resources

@hookimpl
def spark_register_resources():
    others = [r for r in offered() if r.type != "spark_core.gateway.demand:OnDemand"]
    return (*others, Resource(OnDemand, open_wishes))

plugin.spark_register_resources = spark_register_resources
"""

Wish = Callable[[Peer, str], Awaitable[bytes]]


class Machine:
    """Serves one model at a time, or none; ``wrong`` counts requests that should not have come."""

    def __init__(self) -> None:
        self.model: str | None = "old"
        self.asked: list[str] = []
        self.wrong = 0
        self.wishes: list[str] = []
        self.answer_wish: Wish = self.never
        self.url, self.wishes_port = "", 0
        self.admission: Admission
        self.served: Served

    # ----------------------------------------------------------------------- what it serves

    async def serve(self, peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            if head.startswith(b"GET /v1/models"):
                models = [{"id": self.model}] if self.model else []
                await peer.send(answer(to_json({"data": models})))
            elif head.startswith(b"GET"):
                await peer.send(answer())
            else:
                await self.chat(peer, from_json(body)["model"])

    async def chat(self, peer: Peer, model: str) -> None:
        """A stream of four events, during which the model must not go away."""
        self.asked.append(model)
        self.wrong += model != self.model
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
        await peer.send(head + b"content-type: text/event-stream\r\n\r\n")
        for _ in range(4):
            await peer.send(b"9\r\ndata: a\n\n\r\n")
            await asyncio.sleep(0.002)
            self.wrong += model != self.model
        await peer.send(b"0\r\n\r\n")

    # ------------------------------------------------------------------------------- swaps

    async def swap(self, model: str) -> None:
        """Swap the model as a careful driver does."""
        self.admission.close("vllm", time.time() + LONG)
        assert await self.admission.drained("vllm", PATIENCE)
        self.change(None)
        await asyncio.sleep(0.02)
        self.change(model)
        self.admission.open("vllm")

    def change(self, model: str | None) -> None:
        """Let *model* be served instead of what was."""
        self.model = model
        self.admission.changed("vllm")

    # ------------------------------------------------------------------------------ wishes

    async def hear(self, peer: Peer) -> None:
        """A wish of a worker: its model, and how long it would wait."""
        model, wait_s = (await peer.head()).decode().split()
        assert 0 < float(wait_s) < 60.001  # a sum of times is rounded
        self.wishes.append(model)
        await peer.send(await self.answer_wish(peer, model))

    async def never(self, peer: Peer, model: str) -> bytes:
        return b"never\n"

    async def fulfil(self, peer: Peer, model: str) -> bytes:
        await self.swap(model)
        return b"served\n"


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[Machine]:
    """A machine, where it can be asked and where it hears wishes."""
    machine = Machine()
    async with serving(machine.serve) as there, serving(machine.hear) as wishes:
        machine.url, machine.wishes_port = there.url, wishes.port
        yield machine


@asynccontextmanager
async def shared(served: Served) -> AsyncIterator[Admission]:
    """What the workers of *served* share."""
    folder = served.log.parent / ".spark" / "gateway"
    async with open_admission(folder, [Pool("vllm", 8)]) as admission:
        yield admission


@pytest.fixture(scope="module")
async def swapping(running: Machine, serve: Serve) -> AsyncIterator[Machine]:
    """Three workers in front of a machine."""
    toml = f'[plugins.vllm]\nurl = "{running.url}"\nlimit = 8\n'
    change = ON_DEMAND.replace("PORT", str(running.wishes_port))
    running.served = serve(toml, workers=3, change=change)
    async with shared(running.served) as running.admission:
        yield running


@pytest.fixture
async def machine(swapping: Machine) -> Machine:
    """The machine, with the model "old" and nothing asked of it."""
    swapping.admission.open("vllm")
    swapping.change("old")
    swapping.asked, swapping.wrong, swapping.wishes = [], 0, []
    swapping.answer_wish = swapping.never
    return swapping


@pytest.fixture
async def web(swapping: Machine) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=swapping.served.url, timeout=PATIENCE, trust_env=False
    ) as client:
        yield client


async def chat(web: httpx.AsyncClient, model: str, **headers: str) -> httpx.Response:
    body = {"model": model, "stream": True, "messages": []}
    return await web.post("/v1/chat/completions", json=body, headers=headers)


async def until_waiting(machine: Machine, count: int) -> None:
    async def waiting() -> int:
        return machine.admission.states()[0].waiting

    await eventually(waiting, lambda found: found == count)


WHOLE = b"data: a\n\n" * 4


async def test_no_request_is_lost_over_many_swaps(machine: Machine, web: httpx.AsyncClient) -> None:
    """Clients never stop asking for the model; it goes away and comes back."""
    over = asyncio.Event()

    async def client() -> int:
        count = 0
        while not over.is_set():
            response = await chat(web, "old")
            assert (response.status_code, response.content) == (200, WHOLE), response.content
            count += 1
        return count

    before = machine.admission.door("vllm")
    clients = [asyncio.create_task(client()) for _ in range(20)]
    for _ in range(10):
        await until_asked(machine, len(machine.asked) + 20)
        await machine.swap("old")
    over.set()
    counts = await asyncio.gather(*clients)
    after = machine.admission.door("vllm")
    assert machine.wrong == 0
    assert len(machine.asked) == sum(counts)
    assert (after.refused, after.aborted) == (before.refused, before.aborted)
    assert after.queued > before.queued
    await machine.served.until_free()


async def until_asked(machine: Machine, least: int) -> None:
    async def asked() -> int:
        return len(machine.asked)

    await eventually(asked, lambda count: count >= least)


async def test_requests_that_waited_for_a_model_that_is_gone_are_told_so(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    assert (await chat(web, "old")).status_code == 200
    machine.admission.close("vllm", time.time() + LONG)
    waiting = [asyncio.create_task(chat(web, "old")) for _ in range(12)]
    await until_waiting(machine, 12)
    machine.change("new")
    machine.admission.open("vllm")
    for response in await asyncio.gather(*waiting):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"
        assert "known models: new" in response.json()["error"]["message"]
    assert machine.asked == ["old"]
    await machine.served.until_free()


async def test_a_door_that_refuses_says_when_to_come_again(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    now = time.time()
    machine.admission.close("vllm", now + LONG, refuse=True)
    response = await chat(web, "old")
    machine.admission.open("vllm")
    assert response.status_code == 503
    assert LONG - PATIENCE < int(response.headers["retry-after"]) <= LONG + 2
    error = response.json()["error"]
    assert (error["code"], error["position"]) == ("busy", 1)
    assert error["expected_wait_s"] > LONG - PATIENCE


async def test_a_stream_that_breaks_off_behind_a_closed_door_is_counted_as_aborted(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    before = machine.admission.door("vllm").aborted
    reached, may = asyncio.Event(), asyncio.Event()

    async def broken(peer: Peer, model: str) -> None:
        await peer.send(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n"
        )
        reached.set()
        await may.wait()
        raise Gone

    machine.chat = broken  # type: ignore[method-assign]
    asking = asyncio.create_task(chat(web, "old"))
    await reached.wait()
    machine.admission.close("vllm", time.time() + LONG)
    may.set()
    with pytest.raises(httpx.RemoteProtocolError):
        await asking
    del machine.chat

    async def aborted() -> int:
        return machine.admission.door("vllm").aborted - before

    await eventually(aborted, lambda count: count == 1)
    machine.admission.open("vllm")


async def test_a_closed_door_is_seen_in_health_and_metrics_and_is_no_outage(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    machine.admission.close("vllm", time.time() + LONG)
    health = (await web.get("/api/health")).json()
    metrics = await machine.served.metrics()
    machine.admission.open("vllm")
    assert health["components"]["vllm"]["state"] == "busy"
    assert health["components"]["vllm"]["reason"] == "its model is being swapped"
    assert metrics['spark_door_closed{pool="vllm"}'] == 1
    assert metrics['spark_door_requests_total{outcome="aborted",pool="vllm"}'] >= 0
    assert (await machine.served.metrics())['spark_door_closed{pool="vllm"}'] == 0


# ----------------------------------------------------------------------------------- on demand


async def test_a_model_that_is_asked_for_is_had_and_asked(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    machine.answer_wish = machine.fulfil
    response = await chat(web, "new")
    assert (response.status_code, response.content) == (200, WHOLE)
    assert (machine.wishes, machine.asked, machine.wrong) == (["new"], ["new"], 0)


async def test_a_model_that_went_away_while_a_request_waited_is_had_again(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    machine.admission.close("vllm", time.time() + LONG)
    waiting = asyncio.create_task(chat(web, "old"))
    await until_waiting(machine, 1)
    machine.answer_wish = machine.fulfil
    machine.change("new")
    machine.admission.open("vllm")
    assert (await waiting).content == WHOLE
    assert (machine.wishes, machine.asked, machine.wrong) == (["old"], ["old"], 0)


async def test_a_wish_that_has_to_wait_tells_the_position_and_the_time(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    async def busy(peer: Peer, model: str) -> bytes:
        return b"busy\n"

    machine.answer_wish = busy
    response = await chat(web, "new")
    assert (response.status_code, response.headers["retry-after"]) == (503, "42")
    error = response.json()["error"]
    assert (error["code"], error["position"], error["expected_wait_s"]) == ("busy", 3, 42.0)


async def test_a_model_that_cannot_be_had_is_unknown(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    response = await chat(web, "nope")
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["code"] == "model_not_found"
    assert error["message"].endswith("known models: old")
    assert machine.wishes == ["nope"]


async def test_a_client_that_leaves_gives_its_wish_up(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    heard, given_up = asyncio.Event(), asyncio.Event()

    async def wait(peer: Peer, model: str) -> bytes:
        heard.set()
        await peer.gone()
        given_up.set()
        return b""

    machine.answer_wish = wait
    asking = asyncio.create_task(chat(web, "new"))
    await heard.wait()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(PATIENCE):
        await given_up.wait()
    await machine.served.until_free()


async def test_models_on_demand_are_listed_as_not_loaded(
    machine: Machine, web: httpx.AsyncClient
) -> None:
    found = (await web.get("/v1/models")).json()["data"]
    assert {model["id"]: model["loaded"] for model in found} == {"old": True, "new": False}


async def test_a_model_is_had_where_the_machine_serves_none_and_takes_no_connection(
    running: Machine, serve: Serve
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    change = ON_DEMAND.replace("PORT", str(running.wishes_port))
    served = serve(f'[plugins.vllm]\nurl = "http://127.0.0.1:{port}"\n', workers=1, change=change)
    started: list[asyncio.Server] = []

    async def alone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(Gone, ConnectionError):
            await running.serve(Peer(reader, writer))
        writer.close()

    async def start(peer: Peer, model: str) -> bytes:
        running.model = model
        started.append(await asyncio.start_server(alone, "127.0.0.1", port))
        return b"served\n"

    running.answer_wish, running.wishes, running.wrong = start, [], 0
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE, trust_env=False) as client:
        response = await chat(client, "new")
        assert (response.status_code, response.content) == (200, WHOLE)
        assert (running.wishes, running.wrong) == (["new"], 0)
        started[0].close()
