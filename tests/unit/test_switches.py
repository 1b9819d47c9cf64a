"""Plugins are switched on and off by settings, whatever their sections hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from spark_core.declarations import SettingsSection
from spark_core.errors import SettingsError
from spark_core.settings import Section, Settings, Source
from spark_core.spark import compose

pytestmark = pytest.mark.usefixtures("spark_home")


class Fruit(Section):
    port: int = 9999


FRUIT = SettingsSection("plugins.fruit", Fruit)


def source(toml: str = "", dotenv: str = "", environ: Mapping[str, str] | None = None) -> Source:
    """What is read where `spark.toml` and `.env` of the working directory hold this."""
    Path("spark.toml").write_text(toml, "utf-8")
    Path(".env").write_text(dotenv, "utf-8")
    return Source.read(environ=environ or {})


def test_a_plugin_can_be_switched_off() -> None:
    """Its section is then neither checked nor missed."""
    read = source("[plugins.fruit]\nenabled = false\nwhatever = true")
    assert read.disabled_plugins() == {"fruit"}
    assert Settings.check(read, []).warnings == []


def test_the_switch_is_not_a_setting() -> None:
    """`enabled` belongs to the plugin as such, whatever its section holds."""
    read = source("[plugins.fruit]\nenabled = true\nport = 1")
    assert read.disabled_plugins() == frozenset()
    assert Settings.check(read, [FRUIT]).section(Fruit).port == 1


def test_the_switch_needs_no_section() -> None:
    """A plugin without settings can be switched, too."""
    assert Settings.check(source("[plugins.plain]\nenabled = true"), []).warnings == []


@pytest.mark.parametrize("value", ['"no"', "0", "[]"])
def test_the_switch_is_true_or_false(value: str) -> None:
    """A switch that is neither must not leave the plugin silently on."""
    read = source(f"[plugins.fruit]\nenabled = {value}")
    with pytest.raises(SettingsError, match=r"\[plugins.fruit\] enabled = .*true or false"):
        read.disabled_plugins()


@pytest.mark.parametrize(("text", "off"), [("false", True), ("0", True), ("true", False)])
def test_the_environment_switches_plugins(text: str, off: bool) -> None:
    """As it sets any other setting, after the file, whatever dashes the name has."""
    toml = f"[plugins.fruit-bowl]\nport = 1\nenabled = {'true' if off else 'false'}"
    read = source(toml, "", {"SPARK_PLUGINS_FRUIT_BOWL_ENABLED": text})
    assert read.disabled_plugins() == ({"fruit-bowl"} if off else frozenset())
    assert len(Settings.check(read, []).warnings) == (0 if off else 1)


def test_an_installed_plugin_is_switched_off_without_a_file() -> None:
    """`.env` is enough; a blank variable switches nothing."""
    read = source("", "SPARK_PLUGINS_QDRANT_ENABLED=off\nSPARK_PLUGINS_CLI_ENABLED=\n")
    assert read.disabled_plugins() == {"qdrant"}
    assert {p.name for p in compose(read).plugins if p.status == "off"} == {"qdrant"}


def test_a_switch_in_the_environment_is_true_or_false() -> None:
    """And the variable is named."""
    read = source("[plugins.fruit]", "", {"SPARK_PLUGINS_FRUIT_ENABLED": "perhaps"})
    with pytest.raises(
        SettingsError, match=r"environment SPARK_PLUGINS_FRUIT_ENABLED: .*'perhaps'"
    ):
        read.disabled_plugins()


@pytest.mark.parametrize(
    ("toml", "environ"),
    [
        ("[plugins.core]\nenabled = false", {}),
        ("", {"SPARK_PLUGINS_CORE_ENABLED": "false"}),
    ],
)
def test_core_cannot_be_switched_off(toml: str, environ: dict[str, str]) -> None:
    """Nothing would be left to say what is wrong."""
    with pytest.raises(SettingsError, match=r"\[plugins.core\] .* core cannot be switched off"):
        compose(source(toml, "", environ))


def test_only_plugins_have_the_switch() -> None:
    """Elsewhere `enabled` is a setting like any other, so here it is a mistake."""
    with pytest.raises(SettingsError, match=r"\[state\] enabled is not a setting"):
        Settings.check(source("[state]\nenabled = false"), [])
