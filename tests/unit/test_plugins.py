"""Plugins: found by entry point, contained when broken, refused when they clash."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import permutations
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from spark_core import spark
from spark_core.contracts.sessions import SessionProcessor
from spark_core.declarations import (
    BackgroundService,
    Command,
    Job,
    Panel,
    Provider,
    Resource,
    SettingsSection,
    StateSchema,
)
from spark_core.errors import PluginError
from spark_core.gateway.backends import BackendKind
from spark_core.gateway.compositions import Composition
from spark_core.gateway.relays import CHAT
from spark_core.gateway.sections import BackendsSection
from spark_core.operations import Effect, Operation
from spark_core.plugins import Plugin, Plugins
from spark_core.references import resolved
from spark_core.settings import Section, Source
from spark_core.state import Leases
from spark_core.swaps.guards import SwapGuard
from spark_core.testing.plugins import installed, plugin


class Answer(BaseModel):
    text: str = ""


async def answer() -> Answer:
    return Answer()


def operation(name: str, path: str = "") -> Operation:
    return Operation(name, answer, Effect.READ, path=path)


def opener() -> AbstractAsyncContextManager[Any]:
    raise NotImplementedError


def offer(name: str, *operations: str) -> Plugin:
    return plugin(name, spark_register_operations=lambda: [operation(o) for o in operations])


def named(plugins: Plugins, name: str) -> Plugin:
    return next(p for p in plugins if p.name == name)


def own(plugins: Plugins) -> set[str]:
    """The operations that are not core's."""
    core = {"plugins", "audit.list", "audit.undo", "background"}
    return {o.name for o in plugins.operations()} - core


# ---------------------------------------------------------------------------------- containment


def broken(function: Callable[[], Iterable[object]]) -> tuple[Plugins, Plugin]:
    """All plugins and the one whose hook is *function*, between two that work."""
    bad = plugin("bad", spark_register_operations=function)
    return installed(offer("first", "one"), bad, offer("last", "two")), bad


def _raises() -> list[Operation]:
    raise ZeroDivisionError("on purpose")


def _exits() -> list[Operation]:
    sys.exit("goodbye")


def _raises_midway() -> Iterator[Operation]:
    yield operation("never")
    raise ZeroDivisionError("midway")


async def _is_async() -> list[Operation]:
    return []


class Panic(BaseException):
    """As native extensions raise: no Exception."""


def _panics() -> list[Operation]:
    raise Panic("on purpose")


class Forever(Exception):
    def __str__(self) -> str:
        raise Panic


def _raises_forever() -> list[Operation]:
    raise Forever


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (_raises, "ZeroDivisionError: on purpose"),
        (_exits, "SystemExit: goodbye"),
        (_panics, "Panic: on purpose"),
        (_raises_forever, "Forever: it cannot be told"),
        (_raises_midway, "ZeroDivisionError: midway"),
        (_is_async, "TypeError: it is async, and hooks never are"),
        (lambda: None, "TypeError: it returned None instead of an iterable"),
        (lambda: 3, "TypeError: 'int' object is not iterable"),
        (lambda: [answer], "TypeError: it offers function instead of Operation"),
        (lambda: "ask", "TypeError: it offers str instead of Operation"),
        (lambda: operation("unlisted"), "TypeError: 'Operation' object is not iterable"),
        (lambda: [operation("a b")], "PluginError: operation name 'a b' is not made of words"),
    ],
)
def test_a_hook_that_fails_is_contained(hook: Callable[[], Any], reason: str) -> None:
    """What it would have offered is missing, it is named with its hook, the others go on."""
    plugins, bad = broken(hook)
    assert own(plugins) == {"one", "two"}
    assert plugins.broken() == [bad]
    assert bad.status == "broken"
    assert bad.error is not None
    assert bad.error.startswith(f"spark_register_operations: {reason}")


def test_an_error_that_cannot_even_be_told_is_contained() -> None:
    """Its type is named."""
    plugins, bad = broken(_raises_the_untold)
    assert own(plugins) == {"one", "two"}
    assert bad.error == "spark_register_operations: Untold: it cannot be told"


class Untold(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def _raises_the_untold() -> list[Operation]:
    raise Untold


@pytest.mark.parametrize(
    "migrations", ["spark_test_nowhere.migrations", "spark_core.nowhere", "spark_test_nowhere"]
)
def test_a_state_schema_without_its_package_is_contained(migrations: str) -> None:
    """It is not left to whoever opens the state first."""
    bad = plugin("bad", spark_register_state_schemas=lambda: [StateSchema("x", migrations)])
    plugins = installed(bad, offer("good", "one"))
    assert plugins.state_schemas() == []
    assert own(plugins) == {"one"}
    assert bad.error is not None
    assert bad.error.startswith("spark_register_state_schemas: ModuleNotFoundError: No module")


def test_an_offer_without_a_name_is_contained() -> None:
    """What it claims is looked at where its plugin is known."""
    nameless = Resource(cast(Any, 3), opener)
    bad = plugin("bad", spark_register_resources=lambda: [nameless])
    assert own(installed(bad, offer("good", "one"))) == {"one"}
    assert bad.error is not None
    assert bad.error.startswith("spark_register_resources: AttributeError")


def test_a_section_without_a_json_schema_is_contained() -> None:
    """Or `spark config schema` would fail for all."""
    bad = plugin("bad", spark_register_settings=lambda: [SettingsSection("x", Calling)])
    plugins = installed(bad, offer("good", "one"))
    assert "x" not in {section.path for section in plugins.settings_sections()}
    assert bad.error is not None
    reason = "[x]: Calling.call has no JSON schema: "
    assert bad.error.startswith(f"spark_register_settings: PluginError: {reason}")


def test_a_section_that_cannot_be_built_is_contained_without_being_examined() -> None:
    """Command lines examine nothing, and still one bad annotation must not stop them all."""
    bad = plugin("bad", spark_register_settings=lambda: [SettingsSection("x", Unbuildable)])
    plugins = Plugins([bad, offer("good", "one")], examined=False)
    assert plugins.settings_sections() == []
    assert bad.error is not None
    assert bad.error.startswith("spark_register_settings: PydanticUndefinedAnnotation: ")


class Unbuildable(Section):
    value: Nowhere  # type: ignore[name-defined]  # noqa: F821


class Calling(Section):
    name: str = ""
    call: Callable[[], None] = print


def test_only_the_failing_hook_is_left_out() -> None:
    """A plugin's other hooks still count."""
    half = plugin(
        "half",
        spark_register_operations=_raises,
        spark_register_commands=lambda: [Command("wave", "Wave.", "x:y")],
    )
    plugins = installed(half)
    assert [command.name for command in plugins.commands()] == ["wave"]
    assert half.status == "broken"


def test_a_misspelt_hook_is_named() -> None:
    """A hook that does not exist would be dead and silent; it is an error instead."""
    bad = plugin("bad", spark_register_operation=lambda: [])
    plugins = installed(bad, offer("good", "one"))
    assert bad.error is not None
    assert "spark_register_operation" in bad.error
    assert "unknown hook" in bad.error
    assert own(plugins) == {"one"}


def test_a_hook_that_wants_arguments_is_named() -> None:
    """Hooks take nothing; one that does is refused, and only it."""
    bad = plugin("bad", spark_register_operations=lambda config: [])  # type: ignore[arg-type, misc]
    plugins = installed(bad, offer("good", "one"))
    assert bad.error is not None
    assert "config" in bad.error
    assert own(plugins) == {"one"}


def test_one_module_under_two_names_does_not_disturb_the_first() -> None:
    """The second is refused; the first keeps what it offers."""
    first = offer("first", "one")
    second = Plugin("second", "d", "0", module=first.module)
    plugins = installed(first, second)
    assert own(plugins) == {"one"}
    assert (first.status, second.status) == ("ok", "broken")


def test_hooks_are_called_once() -> None:
    """However often their result is asked for."""
    calls = []

    def hook() -> list[Operation]:
        calls.append(1)
        return []

    plugins = installed(plugin("p", spark_register_operations=hook))
    plugins.operations()
    plugins.operations()
    assert len(calls) == 1


def test_the_order_of_plugins_does_not_matter() -> None:
    """In whatever order they are found, the same is offered."""
    for order in permutations("abc"):
        assert own(installed(*(offer(name, f"{name}.do") for name in order))) == {
            "a.do",
            "b.do",
            "c.do",
        }


# --------------------------------------------------------------------------------------- clashes


class Shared(Section): ...


class Other(Section): ...


async def forever() -> None: ...


CLASHES: dict[str, tuple[str, list[Any], list[Any]]] = {
    "settings": ("section [x]", [SettingsSection("x", Shared)], [SettingsSection("x", Other)]),
    "state_schemas": (
        "state schema 'x'",
        [StateSchema("x", "spark_core.state.migrations")],
        [StateSchema("x", "spark_core.gateway.migrations")],
    ),
    "resources": ("test_plugins.Shared", [Resource(Shared, opener)], [Resource(Shared, opener)]),
    "embedders": ("embedder 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "rerankers": ("reranker 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "vector_stores": ("vector store 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "record_sources": ("record source 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "text_detectors": ("text detector 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "known_entities": ("known entities 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "machines": ("machines 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "model_hosts": ("model host 'x'", [Provider("x", opener)], [Provider("x", opener)]),
    "swap_guards": ("swap guard 'x'", [SwapGuard("x", print)], [SwapGuard("x", print)]),
    "operations": ("operation 'x'", [operation("x")], [operation("x", "/y")]),
    "backends": (
        "kind of backend 'x'",
        [BackendKind("x", BackendsSection, ())],
        [BackendKind("x", BackendsSection, ())],
    ),
    "compositions": (
        "x=true at /v1/chat/completions",
        [Composition(CHAT, "x", forever)],
        [Composition(CHAT, "x", forever)],
    ),
    "session_processors": (
        "session processor 'x'",
        [SessionProcessor("x", "every 1h", forever)],
        [SessionProcessor("x", "every 2h", forever)],
    ),
    "jobs": ("job 'x'", [Job("x", "every 1h", "a")], [Job("x", "every 2h", "b")]),
    "background_services": (
        "background service 'x'",
        [BackgroundService("x", forever)],
        [BackgroundService("x", forever)],
    ),
    "panels": (
        "panel 'x'",
        [Panel("x", "X", "table", "a")],
        [Panel("x", "Y", "tiles", "b")],
    ),
    "commands": ("command 'x'", [Command("x", "X.", "a:b")], [Command("x", "Y.", "c:d")]),
}


@pytest.mark.parametrize("subject", CLASHES)
def test_two_of_a_name_are_refused(subject: str) -> None:
    """Whatever the hook: both distributions are named, and neither silently wins."""
    what, first, second = CLASHES[subject]
    hook = f"spark_register_{subject}"
    with pytest.raises(PluginError) as caught:
        installed(
            plugin("a", distribution="ada-tools", **{hook: lambda: first}),
            plugin("b", distribution="bob-tools", **{hook: lambda: second}),
        )
    message = str(caught.value)
    assert f"{what} is offered twice, by ada-tools and by bob-tools" in message


def test_a_session_processor_is_a_job_of_its_plugin() -> None:
    """Who offers one offers what runs it, too, and no job may have that name."""
    words = SessionProcessor("words", "every 1h", forever)
    offering = plugin("a", spark_register_session_processors=lambda: [words])
    plugins = installed(offering)
    [job] = plugins.jobs()
    assert (job.name, job.operation) == ("session-processor:words", "sessions.run")
    assert job.request == {"processor": "words"}
    assert plugins.distribution_of(job) == "in-test-a"
    with pytest.raises(PluginError, match="job 'session-processor:words' is offered twice"):
        installed(offering, plugin("b", spark_register_jobs=lambda: [job]))


def test_every_hook_is_checked_for_clashes() -> None:
    """A hook that is added later is added to the table above, too."""
    from spark_core import hookspecs

    hooks = {name for name in vars(hookspecs) if name.startswith("spark_register_")}
    assert {f"spark_register_{subject}" for subject in CLASHES} == hooks


def test_two_operations_on_one_route_are_refused() -> None:
    """One of them could never be reached."""
    with pytest.raises(PluginError, match="route POST /api/x is offered twice"):
        installed(
            plugin("a", spark_register_operations=lambda: [operation("x")]),
            plugin("b", spark_register_operations=lambda: [operation("y", "/api/x")]),
        )


def test_what_core_offers_cannot_be_replaced() -> None:
    """Core's operations are offered through the same door, so they clash like any other."""
    with pytest.raises(PluginError, match=r"operation 'plugins' .* by spark-core and by in-test-a"):
        installed(offer("a", "plugins"))


def test_two_plugins_of_one_name_are_refused() -> None:
    """A name chooses a plugin's section and switch, so it is its own."""
    with pytest.raises(PluginError, match="plugin 'core' is offered twice, by spark-core and by x"):
        installed(plugin("core", distribution="x"))


# ------------------------------------------------------------------------------------- discovery


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path into which distributions can be put."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("spark_test_"):
            del sys.modules[name]
    importlib.invalidate_caches()


def distribution(site: Path, name: str, code: str, *, version: str = "1.2", point: str = "") -> str:
    """Put a distribution with one plugin into *site*; returns the plugin's name."""
    module = f"spark_test_{name.replace('-', '_')}"
    (site / f"{module}.py").write_text(code, "utf-8")
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[spark_core]\n{point or name} = {module}\n")
    return point or name


GOOD = """
from spark_core import Command, hookimpl

@hookimpl
def spark_register_commands():
    return [Command("wave", "Wave.", "spark_test_good:wave")]
"""


def test_an_installed_plugin_is_found(site: Path) -> None:
    """Being installed is enough; its distribution, version and hooks are listed."""
    distribution(site, "good", GOOD)
    plugins = Plugins.discover()
    found = named(plugins, "good")
    assert (found.distribution, found.version, found.status) == ("good", "1.2", "ok")
    assert found.hooks == ["spark_register_commands"]
    [wave] = [command for command in plugins.commands() if command.name == "wave"]
    assert plugins.distribution_of(wave) == "good"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ZeroDivisionError('on purpose\\nand more')", "ZeroDivisionError: on purpose"),
        ("import spark_test_nowhere", "ModuleNotFoundError: No module named 'spark_test_nowhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Panic(BaseException): ...\nraise Panic('oh')", "Panic: oh"),
        ("def (", "SyntaxError: "),
        ("raise ImportError('x' * 1000)", "ImportError: xxx"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_contained(site: Path, code: str, error: str) -> None:
    """It is named with one line of what is wrong; the others are there."""
    distribution(site, "bad", code)
    distribution(site, "good", GOOD)
    plugins = Plugins.discover()
    bad = named(plugins, "bad")
    assert bad.status == "broken"
    assert bad.error is not None
    assert bad.error.startswith(f"import: {error}")
    assert "\n" not in bad.error
    assert len(bad.error) < 400
    assert named(plugins, "good").status == "ok"


def test_ctrl_c_is_not_contained(site: Path) -> None:
    """Whoever interrupts a start means the whole program."""
    distribution(site, "slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Plugins.discover()


def test_ctrl_c_in_a_hook_is_not_contained() -> None:
    """Nor there."""
    with pytest.raises(KeyboardInterrupt):
        broken(_is_interrupted)


def _is_interrupted() -> list[Operation]:
    raise KeyboardInterrupt


def test_a_disabled_plugin_is_not_even_imported(site: Path) -> None:
    """It is listed as off and offers nothing."""
    distribution(site, "bad", "raise SystemExit('imported')")
    bad = named(Plugins.discover(disabled=["bad"]), "bad")
    assert (bad.status, bad.error, bad.hooks) == ("off", None, [])


def test_settings_switch_a_plugin_off(site: Path, spark_home: Path) -> None:
    """`[plugins.<name>] enabled = false` is all that it takes."""
    distribution(site, "good", GOOD)
    (spark_home / "spark.toml").write_text("[plugins.good]\nenabled = false\n")
    composed = spark.compose(Source.read(environ={}))
    assert named(composed.plugins, "good").status == "off"


def test_two_distributions_must_not_share_a_name(site: Path) -> None:
    """pluggy would skip the second in silence; it is refused, naming both."""
    distribution(site, "ada-tools", GOOD, point="tools")
    distribution(site, "bob-tools", GOOD, point="tools")
    with pytest.raises(PluginError) as caught:
        Plugins.discover()
    assert "plugin 'tools' is offered twice" in str(caught.value)
    assert "ada-tools" in str(caught.value)
    assert "bob-tools" in str(caught.value)


def test_a_distribution_that_is_found_twice_counts_once(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old build's metadata further down the path is no second plugin."""
    distribution(site, "good", GOOD)
    (site / "old").mkdir()
    distribution(site / "old", "good", GOOD, version="1.1")
    monkeypatch.syspath_prepend(site / "old")
    monkeypatch.syspath_prepend(site)
    assert [p.version for p in Plugins.discover() if p.name == "good"] == ["1.2"]


@pytest.mark.parametrize("mode", ["contain", "refuse"])
def test_a_host_can_refuse_broken_plugins(mode: str, spark_home: Path) -> None:
    """`[core] plugin_errors = "refuse"` stops the start and names each with what is wrong."""
    (spark_home / "spark.toml").write_text(f'[core]\nplugin_errors = "{mode}"\n')
    plugins, _ = broken(_raises)
    read = Source.read(environ={})
    if mode == "contain":
        assert spark.compose(read, plugins=plugins).plugins is plugins
        return
    with pytest.raises(PluginError, match=r"bad \(in-test-bad 0\): .*ZeroDivisionError"):
        spark.compose(read, plugins=plugins)


def test_core_offers_its_resources_through_the_same_door() -> None:
    """The state's resources are listed like a plugin's."""
    assert Leases in {resolved(resource.type) for resource in installed().resources()}
