"""Plugins made in a test, without a distribution to install."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .. import builtin, opening
from ..hookspecs import hookimpl
from ..plugins import Plugin, Plugins
from ..spark import Spark
from .clock import ManualClock

__all__ = ["SparkOpener", "installed", "plugin"]


def plugin(
    name: str, *, distribution: str | None = None, **hooks: Callable[[], Iterable[object]]
) -> Plugin:
    """A plugin whose module has *hooks*, each under the name of the hook it implements::

    plugin("greeter", spark_register_operations=lambda: [Operation("greet", ...)])
    """
    module = ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    return Plugin(name, distribution or f"in-test-{name}", "0", module=module)


def installed(*plugins: Plugin) -> Plugins:
    """Core's own offers and those of *plugins*; nothing that is really installed."""
    return Plugins([Plugin("core", "spark-core", "0", module=builtin), *plugins])


@dataclass(frozen=True)
class SparkOpener:
    """The fixture ``spark_open``: opens a Spark out of core and plugins made in a test."""

    home: Path
    clock: ManualClock

    @asynccontextmanager
    async def __call__(
        self, *plugins: Plugin, toml: str = "", environ: Mapping[str, str] | None = None
    ) -> AsyncIterator[Spark]:
        """Open it with *toml* as its ``spark.toml`` and *environ* as its whole environment."""
        config = self.home / "spark.toml"
        config.write_text(toml, "utf-8")
        async with opening.open(
            config, environ=environ or {}, clock=self.clock, plugins=installed(*plugins)
        ) as opened:
            yield opened
