"""Fixtures for whoever tests a plugin. pytest finds them where spark-core is installed.

It is loaded in every run of pytest there, so it imports nothing but pytest until a fixture is
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from ..plugins import Plugin
    from ..spark import Spark
    from .clock import ManualClock

    OpenSpark = Callable[..., AbstractAsyncContextManager[Spark]]


@pytest.fixture
def spark_clock() -> ManualClock:
    """A clock that stands still until it is told to :meth:`~ManualClock.advance`."""
    from .clock import ManualClock

    return ManualClock()


@pytest.fixture
def spark_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in an environment that sets nothing of ours.

    No variable is left that a setting of an installed plugin is read from.
    """
    import os

    known = _variables()
    for variable in list(os.environ):
        if variable.startswith("SPARK_") or variable in known:
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def spark_open(spark_home: Path, spark_clock: ManualClock) -> OpenSpark:
    """Opens a Spark in ``spark_home`` out of core, the plugins given and nothing else::

    async with spark_open(plugin("greeter", ...), toml="[plugins.greeter]...") as spark:
        await spark.call("greet")

    *toml* becomes ``spark.toml``, *environ* the whole environment; time is ``spark_clock``'s.
    """
    return _opener(spark_home, spark_clock)


def _opener(home: Path, clock: ManualClock) -> OpenSpark:
    from contextlib import asynccontextmanager

    from ..spark import open
    from .plugins import installed

    @asynccontextmanager
    async def open_spark(
        *plugins: Plugin, toml: str = "", environ: Mapping[str, str] | None = None
    ) -> AsyncIterator[Spark]:
        config = home / "spark.toml"
        config.write_text(toml, "utf-8")
        async with open(
            config, environ=environ or {}, clock=clock, plugins=installed(*plugins)
        ) as spark:
            yield spark

    return open_spark


def _variables() -> frozenset[str]:
    """Every environment variable that a setting of something installed is read from."""
    from ..plugins import Plugins
    from ..settings import CORE_SECTIONS, variables

    sections = (*CORE_SECTIONS, *Plugins.discover().settings_sections())
    return frozenset(name for section in sections for _, name in variables(section))
