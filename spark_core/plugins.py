"""Plugins: found by entry point, contained when broken, listed with what they offer."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pluggy

from . import hookspecs
from .contracts.detection import KnownEntities, TextDetector
from .contracts.sessions import SessionProcessor
from .declarations import (
    BackgroundService,
    Command,
    Job,
    Panel,
    Provider,
    Resource,
    SettingsSection,
    StateSchema,
)
from .errors import PluginError
from .gateway.backends import BackendKind, Relay
from .gateway.compositions import Composition
from .operations import Operation
from .references import INTERRUPTS, name_of, resolved
from .sources import CORE_SECTIONS
from .swaps.guards import SwapGuard

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
    is named and left out of that hook while the others go on. So is one whose offers cannot
    be described in JSON, if they are *examined*: that takes longer than all the rest.
    """

    def __init__(self, plugins: Iterable[Plugin], *, examined: bool = True) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._plugins = _by_name(plugins)
        self._offers: dict[str, list[_Offer]] = {}
        for plugin in self._plugins:
            if plugin.module is not None:
                self._register(plugin)
        for name in (n for n in vars(hookspecs) if n.startswith("spark_register_")):
            self._offers[name] = list(self._collect(name))
        self._check_duplicates()
        self._offers["spark_register_jobs"] += [
            _Offer(offer.plugin, offer.item.job)
            for offer in self._offers["spark_register_session_processors"]
        ]
        if examined:
            self.examine()

    @classmethod
    def discover(cls, disabled: Iterable[str] = (), *, examined: bool = True) -> Plugins:
        """Load every installed plugin but those that are *disabled*.

        :raises PluginError: two distributions offer the same name.
        """
        entry_points = _unique(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
        off = frozenset(disabled)
        return cls((_load(p, p.name not in off) for p in entry_points), examined=examined)

    def examine(self) -> None:
        """Leave out what would spoil the documents that are made of what all plugins offer."""
        from .schemas import check_operation, schema_of

        self._sift("spark_register_settings", lambda s: schema_of(s.model, f"[{s.path}]"))
        self._sift("spark_register_operations", check_operation)
        for hook in self._offers:
            self._sift(hook, _import_references)

    def _sift(self, hook: str, check: Callable[[Any], object]) -> None:
        """Leave out of *hook* each plugin that offers there what *check* raises for."""
        broken = {id(o.plugin) for o in self._offers[hook] if not _passes(check, hook, o)}
        self._offers[hook] = [o for o in self._offers[hook] if id(o.plugin) not in broken]

    def _register(self, plugin: Plugin) -> None:
        try:
            self._manager.register(plugin.module, plugin.name)
            self._manager.check_pending()
        except INTERRUPTS:
            raise
        except BaseException as error:
            plugin.error = _described(error)
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
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
                offered = [_checked(hook, item) for item in _returned(caller())]
            except INTERRUPTS:
                raise
            except BaseException as error:
                plugin.error = f"{hook}: {_described(error)}"
                continue
            yield from (_Offer(plugin, item) for item in offered)

    def _check_duplicates(self) -> None:
        claimed: dict[str, Plugin] = {}
        for hook, (_, claims) in _OFFERED.items():
            for offer in self._offers[hook]:
                for claim in claims(offer.item):
                    if claim in claimed:
                        raise _clash(claim, claimed[claim], offer.plugin)
                    claimed[claim] = offer.plugin

    def _items(self, hook: str) -> list[Any]:
        return [offer.item for offer in self._offers[hook]]

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self._plugins)

    def broken(self) -> list[Plugin]:
        """The plugins that something is wrong with."""
        return [plugin for plugin in self._plugins if plugin.error]

    def distribution_of(self, item: object) -> str:
        """The distribution that offered *item*."""
        return self._owner(item).distribution

    def blame(self, item: object, error: str) -> None:
        """Let the plugin that offered *item* be known as broken: it turned out when it was used."""
        self._owner(item).error = error

    def _owner(self, item: object) -> Plugin:
        offers = (offer for offers in self._offers.values() for offer in offers)
        return next(offer.plugin for offer in offers if offer.item is item)

    # One typed method per hook: hooks are called nowhere else.

    def settings_sections(self) -> list[SettingsSection]:
        """See :func:`.hookspecs.spark_register_settings`.

        Models are imported and built here, so that help need not: an annotation that means
        nothing is named.
        """
        self._sift("spark_register_settings", _build_model)
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

    def backends(self) -> list[BackendKind]:
        """See :func:`.hookspecs.spark_register_backends`."""
        return self._items("spark_register_backends")

    def relays(self) -> list[Relay]:
        """Every route that some kind of backend serves."""
        return list(dict.fromkeys(relay for kind in self.backends() for relay in kind.relays))

    def compositions(self) -> list[Composition]:
        """See :func:`.hookspecs.spark_register_compositions`."""
        return self._items("spark_register_compositions")

    def swap_guards(self) -> list[SwapGuard]:
        """See :func:`.hookspecs.spark_register_swap_guards`."""
        return self._items("spark_register_swap_guards")

    def session_processors(self) -> list[SessionProcessor]:
        """See :func:`.hookspecs.spark_register_session_processors`."""
        return self._items("spark_register_session_processors")

    def text_detectors(self) -> list[Provider[TextDetector]]:
        """See :func:`.hookspecs.spark_register_text_detectors`."""
        return self._items("spark_register_text_detectors")

    def known_entities(self) -> list[Provider[KnownEntities]]:
        """See :func:`.hookspecs.spark_register_known_entities`."""
        return self._items("spark_register_known_entities")

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


#: What each hook's implementations return, and what each of these claims for itself alone.
_OFFERED: Mapping[str, tuple[type, Callable[[Any], tuple[str, ...]]]] = {
    "spark_register_settings": (SettingsSection, lambda s: (f"section [{s.path}]",)),
    "spark_register_state_schemas": (StateSchema, lambda s: (f"state schema {s.name!r}",)),
    "spark_register_resources": (Resource, lambda r: (f"resource {_full_name(r.type)}",)),
    "spark_register_embedders": (Provider, lambda p: (f"embedder {p.name!r}",)),
    "spark_register_rerankers": (Provider, lambda p: (f"reranker {p.name!r}",)),
    "spark_register_vector_stores": (Provider, lambda p: (f"vector store {p.name!r}",)),
    "spark_register_record_sources": (Provider, lambda p: (f"record source {p.name!r}",)),
    "spark_register_machines": (Provider, lambda p: (f"machines {p.name!r}",)),
    "spark_register_model_hosts": (Provider, lambda p: (f"model host {p.name!r}",)),
    "spark_register_text_detectors": (Provider, lambda p: (f"text detector {p.name!r}",)),
    "spark_register_known_entities": (Provider, lambda p: (f"known entities {p.name!r}",)),
    "spark_register_swap_guards": (SwapGuard, lambda g: (f"swap guard {g.name!r}",)),
    "spark_register_operations": (Operation, lambda o: (f"operation {o.name!r}", _route(o))),
    "spark_register_backends": (BackendKind, lambda k: (f"kind of backend {k.name!r}",)),
    "spark_register_compositions": (
        Composition,
        lambda c: (f"{c.field}=true at {c.relay.path}" if c.field else c.relay.path,),
    ),
    "spark_register_session_processors": (
        SessionProcessor,
        lambda p: (f"session processor {p.name!r}", f"job {p.job.name!r}"),
    ),
    "spark_register_jobs": (Job, lambda j: (f"job {j.name!r}",)),
    "spark_register_background_services": (
        BackgroundService,
        lambda s: (f"background service {s.name!r}",),
    ),
    "spark_register_panels": (Panel, lambda p: (f"panel {p.name!r}",)),
    "spark_register_commands": (Command, lambda c: (f"command {c.name!r}",)),
}


#: What each may give by name, beside a handler, which is looked at more closely.
_REFERABLE: Mapping[type, tuple[str, ...]] = {
    Provider: ("open", "configured", "preload"),
    Resource: ("type", "open"),
    Operation: ("render", "precondition", "in_use"),
    Composition: ("answer",),
    BackgroundService: ("run",),
    BackendKind: ("settings", "check"),
    SwapGuard: ("check",),
    SessionProcessor: ("process", "available"),
    Job: ("cadence",),
}


def _import_references(item: Any) -> None:
    """See that all that *item* gives by name is there, and a type under its own name.

    :raises PluginError: it is not.
    """
    for name in _REFERABLE.get(type(item), ()):
        resolved(getattr(item, name))
    if isinstance(item, Resource) and name_of(item.type) != (own := name_of(resolved(item.type))):
        raise PluginError(f"{item.type!r} is another name of {own!r}: give that one")


def _full_name(kind: type | str) -> str:
    if isinstance(kind, str):
        return kind.replace(":", ".")
    return f"{kind.__module__}.{kind.__qualname__}"


def _route(item: Operation) -> str:
    return f"route {item.method} {item.path}"


def _returned(results: list[Any]) -> Iterator[Any]:
    if not results:  # pluggy leaves out None
        raise TypeError("it returned None instead of an iterable")
    for result in results:
        if isinstance(result, Coroutine):
            result.close()
            raise TypeError("it is async, and hooks never are")
        yield from result


def _checked(hook: str, item: Any) -> Any:
    expected, claims = _OFFERED[hook]
    if not isinstance(item, expected):
        raise TypeError(f"it offers {type(item).__name__} instead of {expected.__name__}")
    if isinstance(item, SettingsSection):
        if not isinstance(item.declared, str):
            _check_model(item)
        if item.path in {core.path for core in CORE_SECTIONS}:
            raise TypeError(f"[{item.path}] belongs to spark-core")
    if isinstance(item, StateSchema):
        _check_migrations(item)
    claims(item)  # what has no name of its own fails here, by its plugin's
    return item


def _check_model(section: SettingsSection) -> None:
    from pydantic import BaseModel

    if not (isinstance(section.model, type) and issubclass(section.model, BaseModel)):
        raise TypeError(f"the model of [{section.path}] is not a pydantic model")


def _build_model(section: SettingsSection) -> None:
    _check_model(section)
    section.model.model_rebuild()


def _check_migrations(schema: StateSchema) -> None:
    """See that the package is there; it is imported only when there is something to migrate."""
    if importlib.util.find_spec(schema.migrations) is None:
        raise ModuleNotFoundError(f"No module named {schema.migrations!r}")


def _passes(check: Callable[[Any], object], hook: str, offer: _Offer) -> bool:
    """Whether *check* accepts what is offered; if not, its plugin is told why."""
    try:
        check(offer.item)
    except INTERRUPTS:
        raise
    except BaseException as error:
        offer.plugin.error = f"{hook}: {_described(error)}"
        return False
    return True


def _by_name(plugins: Iterable[Plugin]) -> list[Plugin]:
    """*plugins*, of which no two may share a name."""
    by_name: dict[str, Plugin] = {}
    for plugin in plugins:
        if (first := by_name.setdefault(plugin.name, plugin)) is not plugin:
            raise _clash(f"plugin {plugin.name!r}", first, plugin)
    return list(by_name.values())


def _unique(points: Iterable[importlib.metadata.EntryPoint]) -> list[importlib.metadata.EntryPoint]:
    """The entry points by name, a distribution that is found twice on the path once."""
    found: dict[tuple[str, str], importlib.metadata.EntryPoint] = {}
    for point in points:
        found.setdefault((point.name, _distribution(point)), point)
    return [found[key] for key in sorted(found)]


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"


def _clash(what: str, first: Plugin, second: Plugin) -> PluginError:
    return PluginError(
        f"{what} is offered twice, by {first.distribution} and by {second.distribution}",
        hint="uninstall one of them",
    )


def _load(point: importlib.metadata.EntryPoint, enabled: bool) -> Plugin:
    version = point.dist.version if point.dist else "unknown"
    plugin = Plugin(point.name, _distribution(point), version, enabled)
    if enabled:
        try:
            plugin.module = point.load()
        except INTERRUPTS:
            raise
        except BaseException as error:
            plugin.error = f"import: {_described(error)}"
    return plugin


def _described(error: BaseException) -> str:
    """*error* in one line."""
    try:
        text = str(error)
    except INTERRUPTS:
        raise
    except BaseException:  # it is as broken as its plugin
        text = "it cannot be told"
    return " ".join(f"{type(error).__name__}: {text}".split())[:300]
