"""The catalog's operations, with machines that are folders of this computer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import spark_core.gateway.plugin
import spark_core.swaps.plugin
from spark_core import Provider, Spark
from spark_core.contracts.machines import Machines
from spark_core.contracts.model_hosts import ModelHost
from spark_core.errors import BackendError, Conflict, InvalidRequest, NotConfigured, Unavailable
from spark_core.plugins import Plugin
from spark_core.swaps.catalog import Catalog
from spark_core.testing.fake_model_host import FakeModelHost
from spark_core.testing.machines import LocalMachines
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = pytest.mark.anyio

MODELS = """\
models:
  small: {repo: example/small, env: {TOKEN: hush-hush}, aliases: [fast]}
  pair: {repo: example/pair, nodes: 2}
  tuned: {local_path: /srv/none/tuned}
"""

Open = Callable[..., AbstractAsyncContextManager[Spark]]


@pytest.fixture
def machines(tmp_path: Path) -> LocalMachines:
    homes = {name: tmp_path / "homes" / name for name in ("spark1", "spark2")}
    for home in homes.values():
        home.mkdir(parents=True)
    return LocalMachines(homes)


@pytest.fixture
def opened(spark_open: SparkOpener, machines: LocalMachines) -> Open:
    """A Spark with this catalog, these machines, and maybe a model host."""

    @asynccontextmanager
    async def give_machines() -> AsyncIterator[Machines]:
        yield machines

    @asynccontextmanager
    async def opener(
        models: str = MODELS, host: ModelHost | None = None, reach: bool = True
    ) -> AsyncIterator[Spark]:
        @asynccontextmanager
        async def give_host() -> AsyncIterator[ModelHost]:
            assert host is not None
            yield host

        hooks: Mapping[str, Any] = {
            "spark_register_machines": lambda: [Provider("local", give_machines)] * reach,
            "spark_register_model_hosts": lambda: [Provider("fake", give_host)] * bool(host),
        }
        (spark_open.home / "models.yaml").write_text(models)
        async with spark_open(
            Plugin("gateway", "spark-core", "0", module=spark_core.gateway.plugin),
            Plugin("swaps", "spark-core", "0", module=spark_core.swaps.plugin),
            plugin("hosts", **hooks),
        ) as spark:
            yield spark

    return opener


async def test_the_list_tells_models_and_warnings(opened: Open) -> None:
    async with opened(MODELS + "  bad: {}\n") as spark:
        listed = await spark.call("models.list")
    assert [model.name for model in listed.models] == ["small", "pair", "tuned"]
    assert "'bad' is left out" in listed.warnings[0]


async def test_the_environment_of_a_model_is_told_by_names_alone(opened: Open) -> None:
    """Its values may be secret."""
    async with opened() as spark:
        shown = await spark.call("models.show", {"name": "fast"})
    assert shown.env == ["TOKEN"]
    assert "hush" not in shown.model_dump_json()
    assert shown.file.endswith("models.yaml")


def text_of(file: str) -> str:
    return Path(file).read_text()


async def test_what_is_added_is_there_with_its_secrets(opened: Open) -> None:
    model = {"name": "new", "repo": "x/y", "env": {"TOKEN": "sesame"}, "args": ["--a", "b c"]}
    async with opened() as spark:
        shown = await spark.call("models.add", model)
        assert "sesame" not in shown.model_dump_json()
        assert shown.file.endswith(".spark/models-overrides.yaml")
        assert "sesame" in text_of(shown.file)
        with pytest.raises(Conflict, match="already"):
            await spark.call("models.add", model)


async def test_what_is_wrong_with_a_new_model_is_told_by_field(opened: Open) -> None:
    async with opened() as spark:
        with pytest.raises(InvalidRequest) as told:
            await spark.call("models.add", {"name": "new", "repo": "x/y", "nodes": 3})
    assert [problem.pointer for problem in told.value.problems] == ["/nodes"]


async def test_a_check_without_machines_is_one_of_the_files(opened: Open) -> None:
    async with opened(reach=False) as spark:
        report = await spark.call("models.check")
    assert report.ok
    assert all(not model.findings for model in report.models)


def local_model(folder: Path, *without: str) -> Path:
    """A folder that a server could load, without those files."""
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "chat_template.jinja"):
        if name not in without:
            (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("nothing", None),
        ("config.json", "config.json is not in it"),
        ("model.safetensors", "no weights are in it"),
        ("chat_template.jinja", "no chat template is in it"),
    ],
)
async def test_items_9_a_local_model_has_its_chat_template_inside(
    opened: Open, tmp_path: Path, without: str, missing: str | None
) -> None:
    """It is looked for on the machine, with everything else that a server needs."""
    folder = local_model(tmp_path / "models" / "mine", without)
    async with opened(f"models: {{mine: {{local_path: {folder}}}}}") as spark:
        report = await spark.call("models.check", {"name": "mine"})
    (finding,) = report.models[0].findings
    assert report.ok == finding.ok == (missing is None)
    assert (missing or "is complete") in finding.detail


async def test_a_template_in_the_tokenizers_settings_will_do(opened: Open, tmp_path: Path) -> None:
    folder = local_model(tmp_path / "models" / "mine", "chat_template.jinja")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    async with opened(f"models: {{mine: {{local_path: {folder}}}}}") as spark:
        assert (await spark.call("models.check")).ok


async def test_an_embedding_model_needs_no_chat_template(opened: Open, tmp_path: Path) -> None:
    folder = local_model(tmp_path / "models" / "mine", "chat_template.jinja")
    entry = f"models: {{mine: {{local_path: {folder}, check: embedding}}}}"
    async with opened(entry) as spark:
        assert (await spark.call("models.check")).ok


async def test_each_machine_that_a_model_runs_on_is_asked(
    opened: Open, machines: LocalMachines
) -> None:
    """One that cannot be reached is a finding, not the end of the check."""
    machines.down = {"spark2"}
    async with opened() as spark:
        report = await spark.call("models.check")
    findings = {model.name: model.findings for model in report.models}
    assert [finding.machine for finding in findings["small"]] == ["spark1"]
    assert [finding.machine for finding in findings["pair"]] == ["spark1", "spark2"]
    assert findings["pair"][0].detail.startswith("not downloaded yet")
    assert not findings["pair"][1].ok
    assert "cannot be reached" in findings["pair"][1].detail


def download(machines: LocalMachines, name: str, hub: str = ".cache/huggingface/hub") -> list[Path]:
    """What a download leaves on every machine."""
    folders = [home / hub / name for home in machines.homes.values()]
    for folder in folders:
        (folder / "snapshots" / "1").mkdir(parents=True)
        (folder / "snapshots" / "1" / "model.safetensors").write_bytes(b"0" * 3_000_000)
    return folders


@pytest.mark.parametrize("hub", [".cache/huggingface/hub", "elsewhere/hub"])
async def test_weights_are_deleted_on_every_machine_and_nothing_else(
    opened: Open, machines: LocalMachines, tmp_path: Path, hub: str
) -> None:
    """Wherever Hugging Face's variables say that they lie."""
    if hub.startswith("elsewhere"):
        machines.environment["HF_HOME"] = "elsewhere"
    gone = download(machines, "models--example--small", hub)
    kept = download(machines, "models--example--small2", hub)
    async with opened() as spark:
        report = await spark.call("models.check", {"name": "small"})
        assert report.models[0].findings[0].detail == "downloaded"
        removed = await spark.call("models.remove", {"name": "small", "weights": True})
        listed = await spark.call("models.list")
    assert set(removed.freed_gib) == {"spark1", "spark2"}
    assert not any(folder.exists() for folder in gone)
    assert all(folder.exists() for folder in kept)
    assert "small" not in [model.name for model in listed.models]


async def test_weights_stay_unless_their_deletion_is_asked_for(
    opened: Open, machines: LocalMachines
) -> None:
    folders = download(machines, "models--example--small")
    async with opened() as spark:
        await spark.call("models.remove", {"name": "small"})
    assert all(folder.exists() for folder in folders)
    assert not machines.commands


async def test_items_9_the_files_of_a_local_model_are_never_deleted(
    opened: Open, machines: LocalMachines
) -> None:
    async with opened() as spark:
        with pytest.raises(InvalidRequest, match="its files are never deleted"):
            await spark.call("models.remove", {"name": "tuned", "weights": True})
        await spark.call("models.show", {"name": "tuned"})
    assert not machines.commands


async def test_where_weights_cannot_be_deleted_the_entry_stays(
    opened: Open, machines: LocalMachines
) -> None:
    """What a container wrote as root is its own; nothing here uses sudo."""
    download(machines, "models--example--small")
    stubborn = machines.homes["spark2"] / "bin" / "rm"
    stubborn.parent.mkdir()
    stubborn.write_text("#!/bin/sh\necho 'rm: Permission denied' >&2; exit 1\n")
    stubborn.chmod(0o755)
    async with opened() as spark:
        with pytest.raises(BackendError, match=r"spark2: .*Permission denied.*only root"):
            await spark.call("models.remove", {"name": "small", "weights": True})
        await spark.call("models.show", {"name": "small"})


async def test_weights_on_no_machines_cannot_be_deleted(opened: Open) -> None:
    async with opened(reach=False) as spark:
        with pytest.raises(NotConfigured, match="no machines"):
            await spark.call("models.remove", {"name": "small", "weights": True})


async def test_the_model_that_is_loaded_cannot_be_removed(opened: Open) -> None:
    """Another one can."""
    host = FakeModelHost()
    async with opened(host=host) as spark:
        catalog = await spark.resolver.get(Catalog)
        await host.launch(catalog.find("small").to_launch("1"), 1)
        with pytest.raises(Conflict, match="small is loaded"):
            await spark.call("models.remove", {"name": "small"})
        await spark.call("models.remove", {"name": "pair"})


async def test_what_is_loaded_must_be_known_before_anything_is_removed(opened: Open) -> None:
    host = FakeModelHost()
    host.nodes["spark1"].error = "it cannot be reached"
    async with opened(host=host) as spark:
        with pytest.raises(Unavailable, match="spark1 cannot be seen"):
            await spark.call("models.remove", {"name": "small"})
