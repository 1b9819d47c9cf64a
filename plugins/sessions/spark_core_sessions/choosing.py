"""Which session processors there are just now."""

from __future__ import annotations

from collections.abc import Sequence

from spark_core import Spark
from spark_core.contracts.sessions import SessionProcessor
from spark_core.errors import SparkError, UnknownChoice
from spark_core.operations import needs_of
from spark_core.plugins import Plugins
from spark_core.references import resolved
from spark_core.resolution import Resolver
from spark_core.settings import Settings

from .child import current

__all__ = ["available", "chosen"]


def chosen(name: str, processors: Sequence[SessionProcessor]) -> SessionProcessor:
    """The one of *processors* that is called *name*.

    :raises UnknownChoice: there is none, or it can do nothing just now; the others are named.
    """
    by_name = {processor.name: processor for processor in processors}
    if name not in by_name:
        known = ", ".join(sorted(by_name)) or "none"
        raise UnknownChoice(f"there is no session processor {name!r}; known: {known}")
    return by_name[name]


async def available(spark: Spark) -> list[SessionProcessor]:
    """Those that can do something just now, by settings as they stand in their file by now.

    Nothing of it is remembered: what is missing now may be there the next time.
    """
    processors = spark.plugins.session_processors()
    if all(processor.available is None for processor in processors):
        return processors
    source = current(spark.settings.source)
    settings = Settings.check(source, spark.plugins.settings_sections())
    given = {Plugins: spark.plugins, Settings: settings}
    resolver = Resolver(spark.plugins, settings, given)
    try:
        return [p for p in processors if await _is_available(p, resolver)]
    finally:
        await resolver.aclose()


async def _is_available(processor: SessionProcessor, resolver: Resolver) -> bool:
    if processor.available is None:
        return True
    ask = resolved(processor.available)
    assert "request" not in needs_of(ask)
    try:
        return bool(ask(**await resolver.fill(ask)))
    except SparkError:
        return False
