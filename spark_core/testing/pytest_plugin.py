"""Fixtures for whoever tests a plugin. pytest finds them where spark-core is installed.

It is loaded in every run of pytest there, so it imports nothing but pytest until a fixture is
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .clock import ManualClock
    from .plugins import SparkOpener


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
def spark_open(spark_home: Path, spark_clock: ManualClock) -> SparkOpener:
    """Opens a Spark in ``spark_home`` out of core, the plugins given and nothing else::

    async with spark_open(plugin("greeter", ...), toml="[plugins.greeter]...") as spark:
        await spark.call("greet")

    *toml* becomes ``spark.toml``, *environ* the whole environment; time is ``spark_clock``'s.
    """
    from .plugins import SparkOpener

    return SparkOpener(spark_home, spark_clock)


def _variables() -> frozenset[str]:
    """Every environment variable that a setting of something installed is read from."""
    from ..plugins import Plugins
    from ..settings import variables
    from ..sources import CORE_SECTIONS

    sections = (*CORE_SECTIONS, *Plugins.discover().settings_sections())
    return frozenset(name for section in sections for _, name in variables(section))
