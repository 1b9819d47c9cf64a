"""Plugins made in a test, without a distribution to install."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType

from .. import builtin
from ..hookspecs import hookimpl
from ..plugins import Plugin, Plugins

__all__ = ["installed", "plugin"]


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
