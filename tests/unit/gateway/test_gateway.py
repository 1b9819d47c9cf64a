"""Which backend a request goes to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import spark_core_lab
from pydantic import SecretStr
from pydantic_core import from_json, to_json

from spark_core.errors import NotConfigured
from spark_core.gateway.admission import Ticket
from spark_core.gateway.backends import Backend
from spark_core.gateway.connection import BrokenOff
from spark_core.gateway.gateway import Gateway, Reply, UnknownModel
from spark_core.gateway.relays import CHAT, EMBEDDINGS, SPEECH

from ...scripted import Peer, answer, serving
from .conftest import OpenGateway, backend

pytestmark = pytest.mark.anyio


async def names(gateway, relay, model):
    return {t.backend.name: t.model for t in await gateway.targets(relay, model)}


async def test_a_model_goes_to_the_backends_that_serve_it(open_gateway: OpenGateway) -> None:
    backends = [backend("a", models=("m", "n")), backend("b", models=("m",))]
    async with open_gateway(*backends) as gateway:
        assert await names(gateway, CHAT, "m") == {"a": "m", "b": "m"}
        assert await names(gateway, CHAT, "n") == {"a": "n"}


async def test_an_alias_is_the_models_real_name_to_the_backend(open_gateway: OpenGateway) -> None:
    async with open_gateway(backend("a", models=("m",), aliases={"gpt-4o": "m"})) as gateway:
        assert await names(gateway, CHAT, "gpt-4o") == {"a": "m"}


async def test_only_backends_that_serve_the_route_are_asked(open_gateway: OpenGateway) -> None:
    backends = [backend("a", models=("m",)), backend("b", models=("m",), relays=(EMBEDDINGS,))]
    async with open_gateway(*backends) as gateway:
        assert await names(gateway, CHAT, "m") == {"a": "m"}
        assert await names(gateway, EMBEDDINGS, "m") == {"a": "m", "b": "m"}


async def test_a_request_without_a_model_may_go_to_any(open_gateway: OpenGateway) -> None:
    async with open_gateway(backend("a", models=("m",)), backend("b")) as gateway:
        assert await names(gateway, CHAT, None) == {"a": None, "b": None}


async def test_an_unknown_model_is_told_with_the_known_ones(open_gateway: OpenGateway) -> None:
    async with open_gateway(backend("a", models=("m",), aliases={"x": "m"})) as gateway:
        with pytest.raises(UnknownModel, match="known models: m, x"):
            await gateway.targets(CHAT, "nope")


async def test_a_route_that_nothing_serves_says_that_a_url_is_missing(
    open_gateway: OpenGateway,
) -> None:
    async with open_gateway(backend("a")) as gateway:
        with pytest.raises(NotConfigured, match="set the url"):
            await gateway.targets(SPEECH, "m")


async def test_models_are_asked_of_a_backend_that_lists_them(open_gateway: OpenGateway) -> None:
    async with (
        spark_core_lab.start("vllm", models=["big", "small"]) as lab,
        open_gateway(backend("a", lab.vllm.url, lists_models=True)) as gateway,
    ):
        assert await names(gateway, CHAT, "small") == {"a": "small"}
        with pytest.raises(UnknownModel, match="big, small"):
            await gateway.targets(CHAT, "nope")


async def test_a_backend_that_never_said_its_models_decides_itself(
    open_gateway: OpenGateway,
) -> None:
    async with open_gateway(backend("a", lists_models=True)) as gateway:
        assert await names(gateway, CHAT, "m") == {"a": "m"}


async def refusing(peer: Peer) -> None:
    """Answers as a server does whose key was not sent."""
    while True:
        await peer.request()
        await peer.send(answer(b"{}", b"401 Unauthorized"))


async def test_a_model_that_one_backend_has_goes_to_none_that_does_not_say(
    open_gateway: OpenGateway,
) -> None:
    async with (
        serving(refusing) as served,
        open_gateway(
            backend("a", served.url, lists_models=True), backend("b", models=("m",))
        ) as gateway,
    ):
        for _ in range(2):  # it is asked for its models beside the first request
            assert await names(gateway, CHAT, "m") == {"b": "m"}
            assert await names(gateway, CHAT, "other") == {"a": "other"}


async def test_a_server_with_a_key_is_asked_for_its_models_with_it(
    open_gateway: OpenGateway,
) -> None:
    """What a caller asks is sent with the caller's own, or without."""
    heads = []

    async def locked(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            heads.append(head)
            await peer.send(answer(b'{"data": [{"id": "m"}]}'))

    async with serving(locked) as served:
        there = backend("a", served.url, lists_models=True)
        async with open_gateway(replace(there, api_key=SecretStr("sesame"))) as gateway:
            await gateway.request(CHAT, {}, Ticket(), model="m")
    listing, asking = heads
    assert b"\r\nauthorization: Bearer sesame\r\n" in listing
    assert b"authorization" not in asking


async def test_another_name_is_listed_only_where_its_model_is_served(
    open_gateway: OpenGateway,
) -> None:
    one = backend("a", models=("m",), aliases={"x": "m", "ghost": "gone"})
    async with open_gateway(one) as gateway:
        assert {*await gateway.all_models()} == {"m", "x"}
        with pytest.raises(UnknownModel, match=r"known models: m, x$"):
            await gateway.targets(CHAT, "ghost")


async def test_every_model_and_alias_is_listed(open_gateway: OpenGateway) -> None:
    backends = [backend("a", models=("m",), aliases={"x": "m"}), backend("b", models=("n",))]
    async with open_gateway(*backends) as gateway:
        assert {k: v.name for k, v in (await gateway.all_models()).items()} == {
            "m": "a",
            "x": "a",
            "n": "b",
        }


# --------------------------------------------------------------------- models that were swapped


class Swapped:
    """A server whose models change; ``asked`` are those that requests wanted of it."""

    def __init__(self, *models: str) -> None:
        self.models = list(models)
        self.asked: list[str] = []

    async def script(self, peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            if head.startswith(b"GET"):
                await peer.send(answer(to_json({"data": [{"id": m} for m in self.models]})))
            else:
                self.asked.append(from_json(body)["model"])
                await peer.send(answer(b"{}"))


@pytest.fixture
async def swapped() -> AsyncIterator[tuple[Swapped, Backend]]:
    """A server whose only model is "old", and the backend that it is."""
    server = Swapped("old")
    async with serving(server.script) as served:
        yield server, backend("a", served.url, lists_models=True)


async def wait_for_turn(gateway: Gateway, model: str) -> asyncio.Task[Reply]:
    """A request that waits in line."""
    task = asyncio.create_task(gateway.request(CHAT, {}, Ticket(), model=model))
    async with asyncio.timeout(30):
        while not any(state.waiting for state in gateway.admission.states()):  # noqa: ASYNC110
            await asyncio.sleep(0)  # it asks for the list before
    return task


async def test_a_backend_whose_models_are_forgotten_is_asked_again_by_all_processes(
    open_gateway: OpenGateway, swapped: tuple[Swapped, Backend]
) -> None:
    server, there = swapped
    async with open_gateway(there) as one, open_gateway(there) as other:
        assert await names(one, CHAT, "old") == await names(other, CHAT, "old") == {"a": "old"}
        server.models = ["new"]
        other.forget_models("a")
        for gateway in (one, other):
            assert await names(gateway, CHAT, "new") == {"a": "new"}
            with pytest.raises(UnknownModel):
                await gateway.targets(CHAT, "old")


async def test_settings_say_no_more_what_a_backend_serves_whose_models_changed(
    open_gateway: OpenGateway, swapped: tuple[Swapped, Backend]
) -> None:
    _, there = swapped
    async with open_gateway(replace(there, models=("said",))) as gateway:
        assert await names(gateway, CHAT, "said") == {"a": "said"}
        gateway.forget_models("a")
        with pytest.raises(UnknownModel, match="known models: old"):
            await gateway.targets(CHAT, "said")


async def test_a_list_that_was_asked_for_before_the_models_changed_is_not_believed(
    open_gateway: OpenGateway,
) -> None:
    asked, may = asyncio.Event(), asyncio.Event()
    lists = [b"old", b"new"]

    async def slow(peer: Peer) -> None:
        while True:
            await peer.head()
            model = lists.pop(0)
            asked.set()
            await may.wait()
            await peer.send(answer(b'{"data": [{"id": "%b"}]}' % model))

    async with (
        serving(slow) as served,
        open_gateway(backend("a", served.url, lists_models=True)) as gateway,
    ):
        before = asyncio.create_task(names(gateway, CHAT, "new"))
        await asked.wait()
        gateway.forget_models("a")
        after = asyncio.create_task(names(gateway, CHAT, "new"))
        await asyncio.sleep(0)
        may.set()
        assert await after == await before == {"a": "new"}


async def test_a_request_whose_model_is_gone_when_its_turn_comes_is_sent_nowhere(
    open_gateway: OpenGateway, swapped: tuple[Swapped, Backend]
) -> None:
    server, there = swapped
    async with open_gateway(there) as gateway:
        gateway.admission.close("a", time.time() + 3600)
        asked = await wait_for_turn(gateway, "old")
        server.models = ["new"]
        gateway.forget_models("a")
        gateway.admission.open("a")
        with pytest.raises(UnknownModel, match="known models: new"):
            await asked
        assert gateway.admission.in_flight("a") == 0
    assert server.asked == []


async def test_a_request_whose_model_is_elsewhere_when_its_turn_comes_is_sent_there(
    open_gateway: OpenGateway, swapped: tuple[Swapped, Backend]
) -> None:
    server, there = swapped
    other = Swapped("other")
    async with (
        serving(other.script) as served,
        open_gateway(there, backend("b", served.url, lists_models=True)) as gateway,
    ):
        gateway.admission.close("a", time.time() + 3600)
        asked = await wait_for_turn(gateway, "old")
        server.models, other.models = ["new"], ["old"]
        gateway.forget_models("a")
        gateway.forget_models("b")
        gateway.admission.open("a")
        assert (await asked).backend == "b"
        assert [state.in_flight for state in gateway.admission.states()] == [0, 0]
    assert (server.asked, other.asked) == ([], ["old"])


async def test_a_request_that_breaks_off_behind_a_closed_door_is_counted(
    open_gateway: OpenGateway,
) -> None:
    reached, may = asyncio.Event(), asyncio.Event()

    async def broken(peer: Peer) -> None:
        await peer.request()
        reached.set()
        await may.wait()

    async with (
        serving(broken) as served,
        open_gateway(backend("a", served.url, models=("m",))) as gateway,
    ):
        asked = asyncio.create_task(gateway.request(CHAT, {}, Ticket(), model="m"))
        await reached.wait()
        gateway.admission.close("a", time.time() + 3600)
        may.set()
        with pytest.raises(BrokenOff):
            await asked
        assert gateway.admission.door("a").aborted == 1


async def test_an_answer_is_read_as_it_comes_and_its_place_is_held_until_its_end(
    open_gateway: OpenGateway,
) -> None:
    """A body of bytes goes as it is, with the backend's own key; its first piece comes alone."""
    asked: list[tuple[bytes, bytes]] = []
    may = asyncio.Event()

    async def slow(peer: Peer) -> None:
        asked.append(await peer.request())
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        await may.wait()
        await peer.send(b"b")

    async with serving(slow) as served:
        there = replace(backend("a", served.url, models=("m",)), api_key=SecretStr("own"))
        async with open_gateway(there) as gateway:
            begun = await gateway.begin(CHAT, b"{ }", Ticket(), model="m", own_key=True)
            assert await begun.answer.read() == b"a"
            assert gateway.admission.in_flight("a") == 1
            may.set()
            assert [piece async for piece in begun.answer] == [b"b"]
            begun.answer.close()
            assert gateway.admission.in_flight("a") == 0
    [(head, body)] = asked
    assert (b"authorization: Bearer own\r\n" in head, body) == (True, b"{ }")
