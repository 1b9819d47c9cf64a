"""Opening spark_core from a Python program. Importing this costs nothing; opening it does."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Mapping

    from .clock import Clock
    from .plugins import Plugins
    from .spark import Spark

__all__ = ["open"]


@asynccontextmanager
async def open(
    config: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    plugins: Plugins | None = None,
) -> AsyncIterator[Spark]:
    """Open everything that is installed, as ``spark.toml`` says, and close it at the end.

    *config* names the settings file (default: ``SPARK_CONFIG``, else ``spark.toml`` in the
    working directory, else none); *environ* is read instead of the process's environment.
    Opening is quick: backends are opened when they are first needed.

    :raises SettingsError: a setting is wrong.
    :raises PluginError: plugins clash, or one is broken and ``[core] plugin_errors`` is
        ``"refuse"``.
    """
    from .settings import Source
    from .spark import compose

    spark = compose(Source.read(config, environ), clock=clock, plugins=plugins)
    try:
        yield spark
    finally:
        await spark.resolver.aclose()
