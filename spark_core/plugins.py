"""Plugins: found by entry point, contained when broken, listed with what they offer."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pluggy

from . import hookspecs
from .declarations import (
    BackgroundService,
    Command,
    Job,
    Panel,
    Provider,
    Relay,
    Resource,
    SettingsSection,
    StateSchema,
)
from .errors import PluginError
from .operations import Operation

__all__ = ["ENTRY_POINT_GROUP", "Plugin", "Plugins"]

ENTRY_POINT_GROUP = "spark_core"

T = TypeVar("T")


@dataclass
class Plugin:
    """An installed plugin. ``error`` says what is wrong with it, if anything is."""

    name: str
    distribution: str
    version: str
    enabled: bool = True
    error: str | None = None
    hooks: list[str] = field(default_factory=list)
    module: Any = None

    @property
    def status(self) -> str:
        """``ok``, ``off`` or ``broken``."""
        if not self.enabled:
            return "off"
        return "broken" if self.error else "ok"


@dataclass(frozen=True)
class _Offer:
    """What a plugin's hook returned one of."""

    plugin: Plugin
    item: Any


class Plugins:
    """Everything that is installed, and what it offers.

    Each hook is called once, here, one plugin at a time, so that a plugin whose hook raises
    is named and left out of that hook while the others go on.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._plugins = list(plugins)
        self._offers: dict[str, list[_Offer]] = {}
        for plugin in self._plugins:
            if plugin.module is not None:
                self._register(plugin)
        for name in (n for n in vars(hookspecs) if n.startswith("spark_register_")):
            self._offers[name] = list(self._collect(name))
        self._check_duplicates()

    @classmethod
    def discover(cls, disabled: Iterable[str] = ()) -> Plugins:
        """Load every installed plugin but those that are *disabled*.

        :raises PluginError: two distributions offer the same name.
        """
        entry_points = _unique(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
        off = frozenset(disabled)
        return cls([_core(), *(_load(point, point.name not in off) for point in entry_points)])

    def _register(self, plugin: Plugin) -> None:
        try:
            self._manager.register(plugin.module, plugin.name)
            self._manager.check_pending()
        except Exception as error:
            self._manager.unregister(plugin.module)
            plugin.error = _described(error)
            return
        callers = self._manager.get_hookcallers(plugin.module) or []
        plugin.hooks = sorted(caller.name for caller in callers)

    def _collect(self, hook: str) -> Iterator[_Offer]:
        for plugin in self._plugins:
            if hook not in plugin.hooks:
                continue
            others = [m for m in self._manager.get_plugins() if m is not plugin.module]
            caller = self._manager.subset_hook_caller(hook, others)
            try:
                offered = [item for result in caller() for item in result]
            except Exception as error:
                plugin.error = f"{hook}: {_described(error)}"
                continue
            yield from (_Offer(plugin, item) for item in offered)

    def _check_duplicates(self) -> None:
        for hook, key in _NAMES.items():
            seen: dict[Any, _Offer] = {}
            for offer in self._offers[hook]:
                name = key(offer.item)
                if (first := seen.setdefault(name, offer)) is not offer:
                    what = f"{hook}: {name!r}"
                    raise _clash(what, first.plugin.distribution, offer.plugin.distribution)

    def _items(self, hook: str) -> list[Any]:
        return [offer.item for offer in self._offers[hook]]

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self._plugins)

    def broken(self) -> list[Plugin]:
        """The plugins that something is wrong with."""
        return [plugin for plugin in self._plugins if plugin.error]

    def distribution_of(self, item: object) -> str:
        """The distribution that offered *item*."""
        offers = (offer for offers in self._offers.values() for offer in offers)
        return next(offer.plugin.distribution for offer in offers if offer.item is item)

    # One typed method per hook: hooks are called nowhere else.

    def settings_sections(self) -> list[SettingsSection]:
        """See :func:`.hookspecs.spark_register_settings`."""
        return self._items("spark_register_settings")

    def state_schemas(self) -> list[StateSchema]:
        """See :func:`.hookspecs.spark_register_state_schemas`."""
        return self._items("spark_register_state_schemas")

    def resources(self) -> list[Resource[Any]]:
        """See :func:`.hookspecs.spark_register_resources`."""
        return self._items("spark_register_resources")

    def providers(self, hook: str) -> list[Provider[Any]]:
        """The providers that *hook*, one of the ``backends`` or ``processors``, offers."""
        return self._items(hook)

    def operations(self) -> list[Operation]:
        """See :func:`.hookspecs.spark_register_operations`."""
        return self._items("spark_register_operations")

    def relays(self) -> list[Relay]:
        """See :func:`.hookspecs.spark_register_relays`."""
        return self._items("spark_register_relays")

    def jobs(self) -> list[Job]:
        """See :func:`.hookspecs.spark_register_jobs`."""
        return self._items("spark_register_jobs")

    def background_services(self) -> list[BackgroundService]:
        """See :func:`.hookspecs.spark_register_background_services`."""
        return self._items("spark_register_background_services")

    def panels(self) -> list[Panel]:
        """See :func:`.hookspecs.spark_register_panels`."""
        return self._items("spark_register_panels")

    def commands(self) -> list[Command]:
        """See :func:`.hookspecs.spark_register_commands`."""
        return self._items("spark_register_commands")


#: What must be unique among all that a hook's implementations return.
_NAMES: Mapping[str, Callable[[Any], Any]] = {
    "spark_register_settings": lambda section: section.path,
    "spark_register_state_schemas": lambda schema: schema.name,
    "spark_register_resources": lambda resource: resource.type,
    "spark_register_embedders": lambda provider: provider.name,
    "spark_register_rerankers": lambda provider: provider.name,
    "spark_register_vector_stores": lambda provider: provider.name,
    "spark_register_record_sources": lambda provider: provider.name,
    "spark_register_operations": lambda operation: operation.name,
    "spark_register_relays": lambda relay: (relay.method, relay.path),
    "spark_register_jobs": lambda job: job.name,
    "spark_register_background_services": lambda service: service.name,
    "spark_register_panels": lambda panel: panel.name,
    "spark_register_commands": lambda command: command.name,
}


def _core() -> Plugin:
    """Core's own offers, through the same door as everybody's."""
    from . import builtin  # it lists plugins, so it imports this module

    return Plugin("core", "spark-core", importlib.metadata.version("spark-core"), module=builtin)


def _unique(points: Iterable[importlib.metadata.EntryPoint]) -> list[importlib.metadata.EntryPoint]:
    """The entry points by name, a distribution that is found twice on the path once."""
    by_name: dict[str, importlib.metadata.EntryPoint] = {}
    for point in points:
        first = by_name.setdefault(point.name, point)
        if _distribution(first) != _distribution(point):
            raise _clash(f"plugin {point.name!r}", _distribution(first), _distribution(point))
    return [by_name[name] for name in sorted(by_name)]


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"


def _clash(what: str, first: str, second: str) -> PluginError:
    return PluginError(
        f"{what} is offered twice, by {first} and by {second}", hint="uninstall one of them"
    )


def _load(point: importlib.metadata.EntryPoint, enabled: bool) -> Plugin:
    version = point.dist.version if point.dist else "unknown"
    plugin = Plugin(point.name, _distribution(point), version, enabled)
    if enabled:
        try:
            plugin.module = point.load()
        except (Exception, SystemExit) as error:
            plugin.error = f"import: {_described(error)}"
    return plugin


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
