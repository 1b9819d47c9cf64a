"""A setting that has no default and is not given stops its own plugin, and nothing else."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from spark_core import Effect, Operation, Section, SettingsSection
from spark_core.errors import NotConfigured, PluginError
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = pytest.mark.anyio


class Keyed(Section):
    key: str


class Answer(BaseModel):
    key: str


async def tell(settings: Keyed) -> Answer:
    """Tell the key."""
    return Answer(key=settings.key)


async def leave() -> Answer:
    """End the program."""
    raise SystemExit(3)


KEYED = plugin(
    "keyed",
    spark_register_settings=lambda: [SettingsSection("plugins.keyed", Keyed)],
    spark_register_operations=lambda: [
        Operation("tell", tell, Effect.READ),
        Operation("leave", leave, Effect.READ),
    ],
)


async def test_what_needs_it_says_what_is_missing(spark_open: SparkOpener) -> None:
    """Everything else works, and the settings' warnings name it too."""
    async with spark_open(KEYED) as spark:
        assert await spark.call("plugins")
        with pytest.raises(NotConfigured, match=r"\[plugins.keyed\] key is missing"):
            await spark.call("tell")
        assert "key is missing" in spark.settings.warnings[0]


async def test_given_it_is_used(spark_open: SparkOpener) -> None:
    """The section is a need like any other."""
    async with spark_open(KEYED, toml="[plugins.keyed]\nkey = 'k'\n") as spark:
        assert (await spark.call("tell")).key == "k"


async def test_an_operation_cannot_end_its_host(spark_open: SparkOpener) -> None:
    """`sys.exit` in an operation is that operation's failure."""
    async with spark_open(KEYED) as spark:
        with pytest.raises(RuntimeError, match="tried to end"):
            await spark.call("leave")


def test_a_path_without_its_slash_is_refused_where_it_is_declared() -> None:
    """The plugin that offers it is broken by name; no host is."""
    with pytest.raises(PluginError, match="operation tell: its path 'api/tell'"):
        Operation("tell", tell, Effect.READ, path="api/tell")
