"""A setting that has no default and is not given stops its own plugin, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from spark_core import Effect, Operation, Section, SettingsSection
from spark_core.containment import contained
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


class Panic(BaseException):
    """As native extensions raise: no Exception."""


async def panic() -> Answer:
    """Fail as badly as can be."""
    raise Panic("no way out")


async def give() -> Answer:
    """Give what is no model."""
    return GIVEN  # type: ignore[return-value]


async def give_each() -> AsyncIterator[Answer]:
    """Give what is no model as an event."""
    yield GIVEN  # type: ignore[misc]


GIVEN: object = None

KEYED = plugin(
    "keyed",
    spark_register_settings=lambda: [SettingsSection("plugins.keyed", Keyed)],
    spark_register_operations=lambda: [
        Operation("tell", tell, Effect.READ),
        Operation("leave", leave, Effect.READ),
        Operation("panic", panic, Effect.READ),
        Operation("give", give, Effect.READ),
        Operation("give.each", give_each, Effect.READ),
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


async def test_what_is_no_exception_is_an_operations_failure_too(spark_open: SparkOpener) -> None:
    """So a native extension's panic is answered like any other error."""
    async with spark_open(KEYED) as spark:
        with pytest.raises(RuntimeError, match=r"operation panic failed with Panic") as caught:
            await spark.call("panic")
    assert isinstance(caught.value.__cause__, Panic)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, asyncio.CancelledError])
def test_what_is_meant_for_the_program_is_not_contained(ending: type[BaseException]) -> None:
    """Nor what cancels a task."""
    with pytest.raises(ending), contained("it"):
        raise ending


@pytest.mark.parametrize("name", ["give", "give.each"])
@pytest.mark.parametrize(("given", "told"), [(None, "nothing"), ({"key": "k"}, "dict")])
async def test_a_result_that_is_no_model_is_named(
    spark_open: SparkOpener, monkeypatch: pytest.MonkeyPatch, name: str, given: object, told: str
) -> None:
    """With its operation and its plugin, and not where a host first trips over it."""
    monkeypatch.setitem(globals(), "GIVEN", given)
    async with spark_open(KEYED) as spark:
        expected = f"operation {name} of in-test-keyed gave {told} where it declares Answer"
        with pytest.raises(PluginError, match=expected):
            await spark.call(name)


def test_a_path_without_its_slash_is_refused_where_it_is_declared() -> None:
    """The plugin that offers it is broken by name; no host is."""
    with pytest.raises(PluginError, match="operation tell: its path 'api/tell'"):
        Operation("tell", tell, Effect.READ, path="api/tell")
