"""Which backend a request goes to."""

from __future__ import annotations

import pytest
import spark_core_lab

from spark_core.errors import NotConfigured
from spark_core.gateway.gateway import UnknownModel
from spark_core.gateway.relays import CHAT, EMBEDDINGS, SPEECH

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


async def test_every_model_and_alias_is_listed(open_gateway: OpenGateway) -> None:
    backends = [backend("a", models=("m",), aliases={"x": "m"}), backend("b", models=("n",))]
    async with open_gateway(*backends) as gateway:
        assert {k: v.name for k, v in (await gateway.all_models()).items()} == {
            "m": "a",
            "x": "a",
            "n": "b",
        }
