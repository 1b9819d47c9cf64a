"""Needs: whatever opens or runs names what it needs by type, and gets exactly that.

A need is a contract (:class:`~spark_core.contracts.embedding.Embedder`), a plugin's settings
section, or a resource such as :class:`~spark_core.state.Leases`. ``X | None`` is a need that
may stay unfilled: it is ``None`` where nothing offers X or where X is not configured.

What is needed is opened once, on first need, and closed in the reverse order.
"""

from __future__ import annotations

import asyncio
import types
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any, TypeVar

from .containment import contained
from .contracts.embedding import Embedder
from .contracts.machines import Machines
from .contracts.model_hosts import ModelHost
from .contracts.records import RecordSource
from .contracts.reranking import Reranker
from .contracts.vectors import VectorStore
from .declarations import Provider, Resource
from .errors import NotConfigured, PluginError, SettingsError, SparkError
from .operations import needs_of
from .plugins import Plugins
from .references import name_of, resolved
from .settings import ProvidersSettings, Settings, nearest

__all__ = ["CONTRACTS", "Resolver", "choose", "unknown_providers"]

T = TypeVar("T")

#: Each contract, the setting that chooses its provider, and the hook that offers providers.
CONTRACTS: Mapping[type, tuple[str, str]] = {
    Embedder: ("embedder", "spark_register_embedders"),
    Reranker: ("reranker", "spark_register_rerankers"),
    VectorStore: ("vector_store", "spark_register_vector_stores"),
    RecordSource: ("record_source", "spark_register_record_sources"),
    Machines: ("machines", "spark_register_machines"),
    ModelHost: ("model_host", "spark_register_model_hosts"),
}


class Resolver:
    """Fills needs. ``given`` holds what is there from the start, by type."""

    def __init__(self, plugins: Plugins, settings: Settings, given: Mapping[type, Any]) -> None:
        self._plugins = plugins
        self._settings = settings
        self._given = {**settings.models(), **given, Resolver: self}
        self._resources = {name_of(resource.type): resource for resource in plugins.resources()}
        self._opened: dict[type, _Opened] = {}
        self._stack = AsyncExitStack()

    async def aclose(self) -> None:
        """Close everything that was opened, the last first; what is just opening is given up.

        What is needed after that is opened anew.
        """
        await asyncio.gather(*(opened.give_up() for opened in self._opened.values()))
        await self._stack.aclose()
        self._opened.clear()

    async def fill(
        self, function: Callable[..., Any], extra: Mapping[type, Any] | None = None
    ) -> dict[str, Any]:
        """The arguments of *function*, by name; *extra* adds needs for this call alone."""
        needs = {name: need for name, need in needs_of(function).items() if name != "request"}
        return {name: await self._need(need, extra or {}) for name, need in needs.items()}

    async def get(self, need: type[T]) -> T:
        """What fills *need*, opened if it was not yet."""
        value: T = await self._need(need, {})
        return value

    async def preload(self) -> None:
        """Open what operations that are in use need, and load what is slow to load.

        What cannot be opened now is left to its first caller, who is then told why.
        """
        for contract in await self._in_use():
            with suppress(SparkError), contained(f"preloading {contract.__name__}"):
                provider = self._chosen(contract)
                opened: Any = await self.get(contract)
                if provider.preload is not None:
                    await resolved(provider.preload)(opened)

    async def _in_use(self) -> list[type]:
        """The contracts that operations need which are in use."""
        needed: list[Any] = []
        for operation in self._plugins.operations():
            if operation.in_use is not None:
                with suppress(SparkError), contained(f"asking whether {operation.name} is in use"):
                    ask = resolved(operation.in_use)
                    if await ask(**await self.fill(ask)):
                        needed += operation.needs.values()
        return [contract for contract in CONTRACTS if contract in needed]

    def _chosen(self, contract: type) -> Provider[Any]:
        setting, hook = CONTRACTS[contract]
        return choose(setting, self._plugins.providers(hook), self._settings)

    def offers(self, need: Any) -> bool:
        """Whether anything installed could fill *need*."""
        settings = need in self._settings.incomplete
        return settings or need in self._given or self._is_opened(need)

    def _is_opened(self, need: Any) -> bool:
        """Whether *need* is something with a lifetime."""
        return need in CONTRACTS or self._resource(need) is not None

    def _resource(self, need: Any) -> Resource[Any] | None:
        # By name first: what is not needed need not be imported to know that.
        found = self._resources.get(name_of(need))
        return found if found is not None and resolved(found.type) == need else None

    async def _need(self, need: Any, extra: Mapping[type, Any]) -> Any:
        if need in extra:
            return extra[need]
        if need in self._given:
            return self._given[need]
        if need in self._settings.incomplete:
            self._settings.section(need)  # says what is missing
        if optional := _optional(need):
            return await self._need_or_none(optional, extra)
        return await self._open_once(need)

    async def _need_or_none(self, need: Any, extra: Mapping[type, Any]) -> Any:
        if need not in extra and not self.offers(need):
            return None
        try:
            return await self._need(need, extra)
        except NotConfigured:
            return None

    async def _open_once(self, need: type) -> Any:
        opened = self._opened.get(need)
        if opened is None or opened.failed:
            # A failed opening is tried again: what it needed may be there by now.
            self._refuse_circles(need, ())
            opener = self._opener(need)
            opened = self._opened[need] = _Opened(lambda: self._manager(opener), self._stack)
        # Shielded: others may wait for it too, when this caller has given up.
        return await asyncio.shield(opened.value)

    async def _manager(
        self, opener: Callable[..., AbstractAsyncContextManager[Any]]
    ) -> AbstractAsyncContextManager[Any]:
        return opener(**{n: await self._need(t, {}) for n, t in needs_of(opener).items()})

    def _refuse_circles(self, need: type, chain: tuple[type, ...]) -> None:
        """Before anything is opened: two that wait for each other would wait for ever."""
        if need in chain:
            names = " -> ".join(t.__name__ for t in (*chain[chain.index(need) :], need))
            raise PluginError(f"needs go round in a circle: {names}")
        for inner in needs_of(self._opener(need)).values():
            inner = _optional(inner) or inner
            if self._is_opened(inner) and inner not in self._given:
                with suppress(NotConfigured):  # opening it will tell, if it matters
                    self._refuse_circles(inner, (*chain, need))

    def _opener(self, need: type) -> Callable[..., AbstractAsyncContextManager[Any]]:
        found = self._chosen(need) if need in CONTRACTS else self._resource(need)
        if found is None:
            raise PluginError(f"nothing installed offers {getattr(need, '__name__', need)}")
        return resolved(found.open, self._plugins.distribution_of(found))


_Manager = Callable[[], Awaitable[AbstractAsyncContextManager[Any]]]


class _Opened:
    """A context manager that is entered and left in one task of its own, as many require."""

    def __init__(self, manager: _Manager, stack: AsyncExitStack) -> None:
        self.value: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._leaving = asyncio.Event()
        self._task = asyncio.create_task(self._live(manager, stack))
        # If the task was cancelled, nobody may wait for a value any more.
        self._task.add_done_callback(lambda _: self.value.cancel())

    @property
    def failed(self) -> bool:
        return self.value.cancelled() or (self.value.done() and self.value.exception() is not None)

    async def give_up(self) -> None:
        """Cancel the opening, if it is still under way, and see it end."""
        if not self.value.done():
            self._task.cancel()
            await asyncio.wait([self.value])

    async def _live(self, manager: _Manager, stack: AsyncExitStack) -> None:
        try:
            with contained("opening or closing what is needed"):
                async with await manager() as value:
                    stack.push_async_callback(self._leave)
                    self.value.set_result(value)
                    await self._leaving.wait()
        except Exception as error:
            if self.value.done():
                raise
            self.value.set_exception(error)

    async def _leave(self) -> None:
        self._leaving.set()
        await self._task


def choose(setting: str, providers: list[Provider[Any]], settings: Settings) -> Provider[Any]:
    """The provider that settings mean: by name, else the configured one, else the embedded one.

    :raises SettingsError: the name is not that of an installed provider, or several are
        configured and none is chosen.
    :raises NotConfigured: there is none to choose.
    """
    name = getattr(settings.section(ProvidersSettings), setting)
    if name is not None:
        return _by_name(setting, name, providers)
    candidates = [p for p in providers if p.configured and resolved(p.configured)(settings)]
    if not candidates:
        candidates = [p for p in providers if p.embedded]
    if not candidates and len(providers) == 1:
        candidates = providers
    if len(candidates) == 1:
        return candidates[0]
    hint = f"set [providers] {setting} to one of: {', '.join(p.name for p in providers) or 'none'}"
    if candidates:
        names = " and ".join(p.name for p in candidates)
        raise SettingsError(f"{names} are both ready to be the {setting}", hint=hint)
    raise NotConfigured(f"there is no {setting} to use", hint=hint)


def unknown_providers(plugins: Plugins, settings: Settings) -> Iterator[str]:
    """What is wrong with ``[providers]``: each that is chosen and not installed."""
    for setting, hook in CONTRACTS.values():
        name = getattr(settings.section(ProvidersSettings), setting)
        if name is not None:
            try:
                _by_name(setting, name, plugins.providers(hook))
            except SettingsError as error:
                yield f"{settings.origins['providers', setting]}: {error.message}"


def _by_name(setting: str, name: str, providers: list[Provider[Any]]) -> Provider[Any]:
    by_name = {provider.name: provider for provider in providers}
    if name not in by_name:
        known = ", ".join(by_name) or "none"
        raise SettingsError(
            f"[providers] {setting} = {name!r} is not installed{nearest(name, by_name)}",
            hint=f"installed: {known}",
        )
    return by_name[name]


def _optional(need: Any) -> Any:
    """X where *need* is ``X | None``, else None."""
    if isinstance(need, types.UnionType) or typing.get_origin(need) is typing.Union:
        inner = [choice for choice in typing.get_args(need) if choice is not type(None)]
        return inner[0] if len(inner) == 1 else None
    return None
