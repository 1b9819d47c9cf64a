"""Which server is asked, and what is said when nothing or nonsense is set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_bge_m3.reranker import BgeM3Reranker
from spark_core_bge_m3.settings import BgeM3Settings

import spark_core
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.reranking import Reranker
from spark_core.errors import NotConfigured, SettingsError
from spark_core.http_client import open_client

pytestmark = pytest.mark.anyio


def test_import_is_light() -> None:
    """Finding the plugin does not import httpx."""
    code = "import sys, spark_core_bge_m3; print('httpx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@asynccontextmanager
async def spark_in(
    directory: Path, monkeypatch: pytest.MonkeyPatch, **environ: str
) -> AsyncIterator[spark_core.Spark]:
    monkeypatch.chdir(directory)
    async with spark_core.open(environ=environ) as spark:
        yield spark


async def test_the_url_alone_chooses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address in the environment, it is the embedder and the reranker."""
    async with spark_in(tmp_path, monkeypatch, SPARK_CONTROL_URL="http://spark.test") as spark:
        assert isinstance(await spark.resolver.get(Embedder), BgeM3Embedder)
        assert isinstance(await spark.resolver.get(Reranker), BgeM3Reranker)
        assert spark.settings.section(BgeM3Settings).verify_tls


@pytest.mark.parametrize(
    ("environ", "asked", "own"),
    [
        ({"SPARK2_HOST": "spark2"}, "http://spark2:8081", "http://spark2:8081"),
        (
            {"SPARK2_HOST": "spark2", "SPARK_PLUGINS_BGE_M3_URL": "http://here:1/"},
            "http://here:1",
            "http://here:1",
        ),
        ({"SPARK_CONTROL_URL": "http://gateway:9999"}, "http://gateway:9999", None),
        (
            {"SPARK_CONTROL_URL": "http://gateway:9999", "SPARK2_HOST": "spark2"},
            "http://gateway:9999",
            "http://spark2:8081",
        ),
        ({"SPARK_CONTROL_URL": "", "SPARK2_HOST": "spark2"}, *["http://spark2:8081"] * 2),
        ({"SPARK2_HOST": ""}, None, None),
    ],
    ids=["host", "url", "control", "control and host", "blank control", "blank host"],
)
async def test_search_may_ask_elsewhere_and_the_gateway_never_does(
    environ: dict[str, str],
    asked: str | None,
    own: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control plane is for search alone: a gateway that relayed to it could ask itself."""
    async with spark_in(tmp_path, monkeypatch, **environ) as spark:
        section = spark.settings.section(BgeM3Settings)
        assert section.asked() == (asked, True)
        assert [backend.url for backend in section.each("bge_m3")] == ([own] if own else [])


async def test_a_blank_control_url_takes_back_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set but empty is not the same as unset: the server itself is asked again."""
    (tmp_path / "spark.toml").write_text(
        '[plugins.bge_m3]\nurl = "http://here:1"\ncontrol_url = "http://gateway:9999"\n'
    )
    async with spark_in(tmp_path, monkeypatch) as spark:
        assert spark.settings.section(BgeM3Settings).asked()[0] == "http://gateway:9999"
    async with spark_in(tmp_path, monkeypatch, SPARK_CONTROL_URL="") as spark:
        assert spark.settings.section(BgeM3Settings).asked()[0] == "http://here:1"


@pytest.mark.parametrize(
    ("control", "verified"), [("", (True, False)), ("https://gateway", (False, True))]
)
async def test_each_address_has_a_certificate_of_its_own(
    control: str,
    verified: tuple[bool, bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trust in one address says nothing of the other."""
    for variable, expected in zip(
        ("SPARK_CONTROL_VERIFY_TLS", "SPARK_PLUGINS_BGE_M3_VERIFY_TLS"), verified, strict=True
    ):
        environ = {"SPARK2_HOST": "spark2", "SPARK_CONTROL_URL": control, variable: "false"}
        async with spark_in(tmp_path, monkeypatch, **environ) as spark:
            assert spark.settings.section(BgeM3Settings).asked()[1] is expected


@pytest.mark.parametrize("contract", [Embedder, Reranker])
async def test_without_a_url_it_says_what_to_set(
    contract: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blank address counts as none; the error names the setting and the variable."""
    environ = {
        "SPARK_CONTROL_URL": " ",
        "SPARK_PROVIDERS_EMBEDDER": "bge_m3",
        "SPARK_PROVIDERS_RERANKER": "bge_m3",
    }
    async with spark_in(tmp_path, monkeypatch, **environ) as spark:
        with pytest.raises(NotConfigured, match=r"\[plugins.bge_m3\] url .*SPARK_CONTROL_URL"):
            await spark.resolver.get(contract)


@pytest.mark.parametrize("url", ["spark.lan", "ftp://spark.lan", "http://", "http://a?b=c"])
async def test_a_wrong_url_is_a_wrong_setting(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no web address is found when settings are read."""
    with pytest.raises(SettingsError, match="must be like http://host:port"):
        async with spark_in(tmp_path, monkeypatch, SPARK_CONTROL_URL=url):
            pass
    with pytest.raises(SettingsError):
        open_client(url)


async def test_a_wrong_url_does_not_tell_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in the scheme must not put the credentials into an error."""
    url = "htp://ada:hunter2@spark.lan"
    with pytest.raises(SettingsError, match=r"spark\.lan") as caught:
        async with spark_in(tmp_path, monkeypatch, SPARK_CONTROL_URL=url):
            pass
    assert "hunter2" not in str(caught.value)
