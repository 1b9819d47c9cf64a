"""The gateway that settings describe."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module

import pytest
import spark_core_lab

from spark_core.declarations import Resource
from spark_core.errors import SettingsError
from spark_core.gateway import plugin as gateway_plugin
from spark_core.gateway.demand import OnDemand
from spark_core.gateway.gateway import Gateway
from spark_core.plugins import Plugin
from spark_core.spark import Spark
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = pytest.mark.anyio

PLUGINS = [
    Plugin("gateway", "spark-core", "0", module=gateway_plugin),
    *(
        Plugin(name, f"spark-core-{name}", "0", module=import_module(f"spark_core_{name}"))
        for name in ("vllm", "parakeet", "kokoro")
    ),
]


def opened(
    spark_open: SparkOpener, toml: str = "", **environ: str
) -> AbstractAsyncContextManager[Spark]:
    return spark_open(*PLUGINS, toml=toml, environ=environ)


async def urls(spark: Spark) -> dict[str, str]:
    gateway = await spark.resolver.get(Gateway)
    return {name: backend.url for name, backend in gateway.backends.items()}


async def test_with_nothing_configured_there_is_no_backend(spark_open: SparkOpener) -> None:
    async with opened(spark_open) as spark:
        assert await urls(spark) == {}
        assert (await spark.call("endpoints")).endpoints == []
        assert (await spark.call("health")).status == "ok"


async def test_the_sparks_hosts_say_where_everything_is(spark_open: SparkOpener) -> None:
    async with opened(spark_open, SPARK1_HOST="10.0.0.1", SPARK2_HOST="10.0.0.2") as spark:
        assert await urls(spark) == {
            "vllm": "http://10.0.0.1:8888",
            "parakeet": "http://10.0.0.2:8000",
            "kokoro": "http://10.0.0.2:8880",
        }


@pytest.mark.parametrize(
    ("port", "found"), [("9000", 9000), ("", 8888), ("many", 8888), ("0", 8888), ("70000", 8888)]
)
async def test_item_10_a_blank_or_bad_vllm_port_is_8888(
    spark_open: SparkOpener, port: str, found: int
) -> None:
    async with opened(spark_open, SPARK1_HOST="10.0.0.1", VLLM_PORT=port) as spark:
        assert await urls(spark) == {"vllm": f"http://10.0.0.1:{found}"}


async def test_a_url_wins_over_the_host(spark_open: SparkOpener) -> None:
    toml = '[plugins.vllm]\nurl = "http://10.0.0.9:1"'
    async with opened(spark_open, toml, SPARK1_HOST="10.0.0.1") as spark:
        assert await urls(spark) == {"vllm": "http://10.0.0.9:1"}


async def test_several_backends_have_names_models_and_limits_of_their_own(
    spark_open: SparkOpener,
) -> None:
    toml = """
    [[plugins.vllm.backends]]
    name = "left"
    url = "http://10.0.0.1:8888"
    models = ["m"]
    limit = 7
    [[plugins.vllm.backends]]
    name = "right"
    url = "http://10.0.0.2:8888"
    aliases = { "gpt-4o" = "m" }
    """
    async with opened(spark_open, toml) as spark:
        gateway = await spark.resolver.get(Gateway)
        left, right = gateway.backends["left"], gateway.backends["right"]
        assert (left.models, left.limit) == (("m",), 7)
        assert (right.models, right.aliases["gpt-4o"]) == ((), "m")


async def test_two_backends_of_one_name_are_refused(spark_open: SparkOpener) -> None:
    toml = """
    [[plugins.vllm.backends]]
    name = "one"
    url = "http://10.0.0.1:8888"
    [[plugins.kokoro.backends]]
    name = "one"
    url = "http://10.0.0.2:8880"
    """
    async with opened(spark_open, toml) as spark:
        with pytest.raises(SettingsError, match="two backends are called 'one'"):
            await spark.resolver.get(Gateway)


@pytest.mark.parametrize("limit", [0, 4])
async def test_item_17_audio_is_never_more_than_three_at_once(
    spark_open: SparkOpener, limit: int
) -> None:
    toml = f"[gateway.groups]\naudio = {limit}"
    async with opened(spark_open, toml, SPARK2_HOST="10.0.0.2") as spark:
        with pytest.raises(SettingsError, match="it must be from 1 to 3"):
            await spark.resolver.get(Gateway)


async def test_item_17_audio_is_two_at_once_over_all_its_backends(spark_open: SparkOpener) -> None:
    async with opened(spark_open, SPARK2_HOST="10.0.0.2") as spark:
        door = (await spark.resolver.get(Gateway)).admission
        held = [await door.admit(["parakeet"]), await door.admit(["kokoro"])]
        assert door.try_admit(["kokoro"]) is None
        assert door.try_admit(["parakeet"]) is None
        held[0].release()
        assert door.try_admit(["kokoro"]) is not None


async def test_item_11_what_is_disabled_is_nowhere_but_among_the_endpoints(
    spark_open: SparkOpener,
) -> None:
    environ = {"SPARK2_HOST": "10.0.0.2", "DISABLED_SERVICES": "kokoro, other"}
    async with opened(spark_open, **environ) as spark:
        assert await urls(spark) == {"parakeet": "http://10.0.0.2:8000"}
        endpoints = {e.name: e for e in (await spark.call("endpoints")).endpoints}
        assert endpoints["kokoro"].disabled
        assert endpoints["kokoro"].state == "disabled"
        assert not endpoints["parakeet"].disabled
        assert (await spark.call("health")).components.keys() == {"parakeet"}
        assert (await spark.call("gateway.models")).data[0].owned_by == "parakeet"


async def test_item_13_a_local_name_is_not_probed_and_says_why(spark_open: SparkOpener) -> None:
    async with opened(spark_open, SPARK1_HOST="spark1.local") as spark:
        [endpoint] = (await spark.call("endpoints")).endpoints
        assert endpoint.state == "unknown"
        assert ".local" in endpoint.reason


async def test_item_28_deep_health_lets_each_backend_do_real_work(
    spark_open: SparkOpener,
) -> None:
    async with spark_core_lab.start("vllm", "parakeet", "kokoro") as lab:
        toml = "".join(
            f'[plugins.{name}]\nurl = "{getattr(lab, name).url}"\n'
            for name in ("vllm", "parakeet", "kokoro")
        )
        async with opened(spark_open, toml) as spark:
            lab.kokoro.faults.set("500")
            found = await spark.call("health.deep")
    assert found.status == "failed"
    assert {name: check.status for name, check in found.checks.items()} == {
        "vllm": "ok",
        "parakeet": "ok",
        "kokoro": "failed",
    }
    assert "1 token" in found.checks["vllm"].detail
    assert "status 500" in found.checks["kokoro"].detail


async def test_item_28_audio_is_checked_one_after_the_other(spark_open: SparkOpener) -> None:
    async with spark_core_lab.start("parakeet", "kokoro") as lab:
        toml = f'[plugins.parakeet]\nurl = "{lab.parakeet.url}"\n'
        async with opened(spark_open, toml) as spark:
            await spark.call("health.deep")
        assert lab.parakeet.peak == 1


async def test_a_backend_whose_door_is_closed_is_not_checked_and_says_why(
    spark_open: SparkOpener,
) -> None:
    toml = '[plugins.vllm]\nurl = "http://127.0.0.1:9"'
    async with opened(spark_open, toml) as spark:
        gateway = await spark.resolver.get(Gateway)
        gateway.admission.close("vllm", time.time() + 3600)
        found = await spark.call("health.deep")
        assert (found.status, found.checks["vllm"].status) == ("ok", "unchecked")
        health = await spark.call("health")
        [endpoint] = (await spark.call("endpoints")).endpoints
        assert health.components["vllm"].state == endpoint.state == "busy"
        assert health.components["vllm"].reason == endpoint.reason == "its model is being swapped"


class Catalog:
    """Has two models to be had on demand."""

    async def wanted(self, model: str, *, wait_s: float) -> None: ...

    async def models(self) -> list[str]:
        return ["said", "stored"]


@asynccontextmanager
async def open_catalog(gateway: Gateway) -> AsyncIterator[Catalog]:
    yield Catalog()


async def test_models_that_can_be_had_on_demand_are_listed_as_not_loaded(
    spark_open: SparkOpener,
) -> None:
    toml = '[plugins.vllm]\nurl = "http://127.0.0.1:9"\nmodels = ["said"]'
    resource = Resource(OnDemand, open_catalog)
    catalog = plugin("catalog", spark_register_resources=lambda: [resource])
    async with spark_open(*PLUGINS, catalog, toml=toml) as spark:
        found = (await spark.call("gateway.models")).data
        assert [(m.id, m.owned_by, m.loaded) for m in found] == [
            ("said", "vllm", True),
            ("stored", "catalog", False),
        ]


async def test_an_answer_that_is_none_fails_the_check_and_not_the_others(
    spark_open: SparkOpener,
) -> None:
    async with spark_core_lab.start("vllm") as lab:
        lab.vllm.faults.set("html")
        async with opened(spark_open, f'[plugins.vllm]\nurl = "{lab.vllm.url}"') as spark:
            found = await spark.call("health.deep")
    assert found.checks["vllm"].status == "failed"
