"""Importing: quick, and everything that is promised is there."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import subprocess
import sys

import pytest

import spark_core

HEAVY = {
    "aiohttp",
    "alembic",
    "asyncssh",
    "click",
    "falcon",
    "fastembed",
    "httpx",
    "numpy",
    "onnxruntime",
    "qdrant_client",
    "qdrant_edge",
    "rich",
    "sqlalchemy",
}

PLUGINS = sorted(
    point.value for point in importlib.metadata.entry_points(group="spark_core") if point.dist
)

SUBMODULES = sorted(
    module.name for module in pkgutil.walk_packages(spark_core.__path__, "spark_core.")
)

#: Modules of spark_core that are loaded on first use of what they are about, and may be heavy.
ON_USE = ("spark_core.http_client", "spark_core.testing", "spark_core.state.migrations")


def imported(code: str) -> set[str]:
    """The top-level names of all that is imported by *code* in a fresh interpreter."""
    return {name.partition(".")[0] for name in modules(code)}


def modules(code: str) -> set[str]:
    """All modules that are imported by *code* in a fresh interpreter."""
    at_the_end = "import atexit, sys; atexit.register(lambda: print('', *sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{at_the_end}\n{code}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.splitlines()[-1].split())


def test_importing_spark_core_is_light() -> None:
    """It loads none of the heavy libraries, and not even pydantic before it is used."""
    assert not imported("import spark_core") & (HEAVY | {"pydantic", "pluggy"})


def test_importing_what_opens_it_is_light_too() -> None:
    """A program pays for the rest when it opens spark_core, not when it starts."""
    loaded = imported("from spark_core import open")
    assert not loaded & (HEAVY | {"pydantic", "pluggy", "asyncio", "importlib.metadata"})


def test_finding_plugins_is_light() -> None:
    """Every installed plugin's hooks are called without loading a heavy library."""
    code = "from spark_core.plugins import Plugins; [str(p) for p in Plugins.discover()]"
    assert not imported(code) & HEAVY


def test_loading_what_works_builds_no_model() -> None:
    """The command that runs needs its own, and building all takes longer than all the rest."""
    code = """
from pydantic import BaseModel
from spark_core.plugins import Plugins

plugins = Plugins.discover(examined=False)
[operation.function for operation in plugins.operations()]
[section.model for section in plugins._items("spark_register_settings")]
models = set(BaseModel.__subclasses__())
while deeper := {inner for model in models for inner in model.__subclasses__()} - models:
    models |= deeper
assert models
built = sorted(f"{m.__module__}.{m.__name__}" for m in models if m.__pydantic_complete__)
assert not built, built
"""
    imported(code)


#: What help shall not load: what works, what checks settings, and what these load.
WORKING = {
    "asyncio",
    "pydantic",
    "spark_core.gateway.gateway",
    "spark_core.introspection",
    "spark_core.settings",
    "spark_core.spark",
    "spark_core.state",
    "spark_core_bge_m3.providers",
    "spark_core_fastembed.embedder",
    "spark_core_http.app",
    "spark_core_ingest.backfill",
    "spark_core_ingest.search",
    "spark_core_ingest.settings",
    "spark_core_ingest.sqlite",
    "spark_core_qdrant.store",
    "spark_core_sessions.operations",
    "spark_core_sessions.settings",
    "spark_core_transcripts.answering",
    "spark_core_transcripts.operation",
}


def test_help_loads_nothing_that_works() -> None:
    """It tells what is declared: so it stays quick, however many plugins there are."""
    loaded = modules("from spark_core_cli.main import make_command as make; make()(['--help'])")
    assert {"spark_core.plugins", "spark_core_ingest"} <= loaded
    assert not loaded & WORKING


@pytest.mark.parametrize("name", sorted(WORKING))
def test_what_help_does_not_load_is_there(name: str) -> None:
    """The rule above is not kept by a name that nothing has any more."""
    assert importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("module", PLUGINS)
def test_a_hook_module_is_light(module: str) -> None:
    """What an entry point names is imported whenever any host starts."""
    assert not imported(f"import {module.partition(':')[0]}") & HEAVY


def test_every_module_of_core_is_light() -> None:
    """Heavy libraries are imported where they are used, not with the module."""
    modules = [name for name in SUBMODULES if not name.startswith(ON_USE)]
    assert not imported(f"import {', '.join(modules)}") & HEAVY


def test_the_pytest_plugin_is_light() -> None:
    """It is loaded in every run of pytest where spark-core is installed."""
    code = "import pytest, sys; before = set(sys.modules); import spark_core.testing.pytest_plugin"
    left = "{m for m in set(sys.modules) - before if not m.startswith('spark_core')}"
    ours = "{m for m in sys.modules if m.startswith('spark_core.')}"
    allowed = "{'spark_core.testing', 'spark_core.testing.pytest_plugin'}"
    imported(f"{code}; assert not {left}, {left}; assert {ours} == {allowed}, {ours}")


# ---------------------------------------------------------------------------------------- exports


def _imported_for_types() -> dict[str, str]:
    """The names that a type checker sees, and the module each comes from."""
    tree = ast.parse(inspect.getsource(spark_core))
    guarded = next(n for n in tree.body if isinstance(n, ast.If) and "TYPE" in ast.unparse(n.test))
    return {
        alias.name: str(node.module)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_exports_are_told_thrice_alike() -> None:
    """To people, to type checkers and to the interpreter."""
    assert spark_core.__all__ == sorted(spark_core._HOME)
    assert _imported_for_types() == spark_core._HOME
    assert dir(spark_core) == spark_core.__all__


@pytest.mark.parametrize("name", spark_core.__all__)
def test_every_export_is_there(name: str) -> None:
    """And it is the very object of the module that it comes from."""
    home = importlib.import_module(f"spark_core.{spark_core._HOME[name]}")
    assert getattr(spark_core, name) is getattr(home, name)
    assert name in home.__all__


def test_what_is_not_exported_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="module 'spark_core' has no attribute 'nothing'"):
        spark_core.nothing  # noqa: B018


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in SUBMODULES
        if not name.endswith(("builtin", "plugin")) and ".migrations" not in name
    ],
)
def test_a_modules_exports_are_there(module: str) -> None:
    """Every public module says what it exports, in order, and has it."""
    loaded = importlib.import_module(module)
    if not hasattr(loaded, "__path__") or module == "spark_core.state":
        assert all(hasattr(loaded, name) for name in loaded.__all__)
        # Constants first, as isort has them.
        assert loaded.__all__ == sorted(loaded.__all__, key=lambda n: (not n.isupper(), n))
