"""What settings say of backends, and what follows from it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spark_core.declarations import SettingsSection
from spark_core.errors import NotConfigured, SettingsError
from spark_core.gateway.backends import Ask, Backend, BackendKind
from spark_core.gateway.gateway import Gateway
from spark_core.gateway.outages import OutageLog
from spark_core.gateway.relays import CHAT, SPEECH
from spark_core.gateway.sections import BackendsSection
from spark_core.testing.plugins import SparkOpener, plugin

from ...scripted import Peer, answer, serving
from .test_opening import PLUGINS, opened, urls

pytestmark = pytest.mark.anyio


async def test_what_a_backend_of_several_does_not_say_its_section_says(
    spark_open: SparkOpener,
) -> None:
    toml = """
    [plugins.vllm]
    limit = 1
    models = ["m"]
    aliases = { "gpt-4o" = "m", "x" = "m" }
    [[plugins.vllm.backends]]
    name = "left"
    url = "http://10.0.0.1:8888"
    [[plugins.vllm.backends]]
    name = "right"
    url = "http://10.0.0.2:8888"
    limit = 7
    models = ["n"]
    aliases = { "x" = "n" }
    api_key = "other"
    """
    async with opened(spark_open, toml, VLLM_API_KEY=" sesame ") as spark:
        gateway = await spark.resolver.get(Gateway)
        left, right = gateway.backends["left"], gateway.backends["right"]
        assert (left.limit, left.models, left.aliases) == (1, ("m",), {"gpt-4o": "m", "x": "m"})
        assert (right.limit, right.models, right.aliases) == (7, ("n",), {"gpt-4o": "m", "x": "n"})
        assert left.credentials == ((b"authorization", b"Bearer sesame"),)
        assert right.credentials == ((b"authorization", b"Bearer other"),)


@pytest.mark.parametrize("host", ["::1", "[::1]", "spark1", "10.0.0.1", "bge_m3", " spark1.lan. "])
async def test_a_host_is_a_name_or_an_address(spark_open: SparkOpener, host: str) -> None:
    async with opened(spark_open, SPARK1_HOST=host) as spark:
        plain = host.strip(" []")
        expected = f"[{plain}]" if ":" in plain else plain
        assert await urls(spark) == {"vllm": f"http://{expected}:8888"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", "10.0.0.1:8888"),
        ("host", "http://spark1"),
        ("host", "spark..lan"),
        ("host", "me:hunter2@spark1"),
        ("url", "http://10.0.0.1:notaport"),
        ("url", "http://10.0.0.1:99999"),
        ("url", "http://10.0.0.1:0"),
        ("url", "http://[::1"),
        ("url", "http://spark..lan"),
        ("url", "http://me:hunter2@spark1"),
        ("api_key", "hunter2\\r\\nx: y"),
    ],
)
async def test_an_address_that_cannot_be_is_told_at_the_start_and_not_repeated(
    spark_open: SparkOpener, key: str, value: str
) -> None:
    toml = f'[plugins.vllm]\n{key} = "{value}"'
    for text in (toml, f'[[plugins.vllm.backends]]\nname = "a"\nurl = "{value}"'):
        if key == "url" or text is toml:
            with pytest.raises(SettingsError, match=rf"vllm.*{key}") as caught:
                async with opened(spark_open, text):
                    pass
            assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("disabled", ["kokoro", "voice-box", "voice_box"])
async def test_item_11_outages_of_what_is_disabled_are_not_listed(
    spark_open: SparkOpener, disabled: str
) -> None:
    """And its routes say why they are not there. A hyphen is as good as an underscore."""
    toml = '[[plugins.kokoro.backends]]\nname = "voice_box"\nurl = "http://10.0.0.2:8880"'
    async with opened(spark_open, toml, DISABLED_SERVICES=disabled) as spark:
        log = await spark.resolver.get(OutageLog)
        for name in ("voice_box", "vllm"):
            await log.begin(name, datetime(2030, 1, 1, tzinfo=UTC), "probe")
        assert [o.backend for o in (await spark.call("connectivity")).outages] == ["vllm"]
        named = await spark.call("connectivity", {"backend": "voice_box"})
        assert named.outages == []
        gateway = await spark.resolver.get(Gateway)
        with pytest.raises(NotConfigured, match=r"disabled: voice_box") as caught:
            await gateway.targets(SPEECH, "kokoro")
        assert "DISABLED_SERVICES" in str(caught.value.hint)


async def test_a_check_that_fails_in_its_own_way_fails_no_other(spark_open: SparkOpener) -> None:
    """Whatever a plugin's check raises."""

    async def check(ask: Ask, backend: Backend) -> str:
        raise {"one": AttributeError("private"), "two": SystemExit(3)}[backend.name]

    kind = BackendKind("odd", BackendsSection, (CHAT,), check=check)
    odd = plugin(
        "odd",
        spark_register_backends=lambda: [kind],
        spark_register_settings=lambda: [SettingsSection("plugins.odd", BackendsSection)],
    )
    toml = "".join(
        f'[[plugins.odd.backends]]\nname = "{name}"\nurl = "http://10.0.0.1"\n'
        for name in ("one", "two")
    )
    async with spark_open(*PLUGINS, odd, toml=toml) as spark:
        found = await spark.call("health.deep")
    assert "AttributeError" in found.checks["one"].detail
    assert "private" not in found.checks["one"].detail
    assert found.checks["two"].status == "failed"


async def test_parakeet_that_hears_null_fails_its_check(spark_open: SparkOpener) -> None:
    async def null(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(b'{"text": null}'))

    async with (
        serving(null) as served,
        opened(spark_open, f'[plugins.parakeet]\nurl = "{served.url}"') as spark,
    ):
        found = await spark.call("health.deep")
    assert found.checks["parakeet"].detail == "it heard nothing in a second of speech"


async def test_the_checks_ask_for_the_models_that_settings_name(spark_open: SparkOpener) -> None:
    bodies = []

    async def heard(peer: Peer) -> None:
        while True:
            bodies.append((await peer.request())[1])
            await peer.send(answer(b'{"text": "The door is open."}'))

    async with serving(heard) as served:
        toml = "".join(
            f'[plugins.{name}]\nurl = "{served.url}"\nmodels = ["my/{name}"]\n'
            for name in ("parakeet", "kokoro")
        )
        async with opened(spark_open, toml) as spark:
            await spark.call("health.deep")
    assert [sum(f"my/{n}".encode() in b for b in bodies) for n in ("parakeet", "kokoro")] == [1, 1]
