"""Opens the gateway that settings describe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

from ..errors import SettingsError
from ..plugins import Plugins
from ..references import resolved
from ..settings import DataDirectory, Settings
from .admission import Pool, open_admission
from .backends import Backend, Group
from .gateway import Gateway
from .settings import GatewaySettings

__all__ = ["configured", "is_disabled", "open_gateway"]


def configured(plugins: Plugins, settings: Settings) -> list[Backend]:
    """Every backend that settings name, those that are disabled among them.

    :raises SettingsError: two have the same name.
    """
    backends: dict[str, Backend] = {}
    for kind in plugins.backends():
        section = settings.section(resolved(kind.settings))
        for found in section.each(kind.name):
            if found.name in backends:
                raise SettingsError(f"two backends are called {found.name!r}")
            backends[found.name] = Backend.of(kind, section, found)
    return list(backends.values())


@asynccontextmanager
async def open_gateway(
    plugins: Plugins, settings: Settings, gateway: GatewaySettings, data: DataDirectory
) -> AsyncIterator[Gateway]:
    """The gateway of this process; its limits hold for all processes that share *data*."""
    found = configured(plugins, settings)
    disabled = [backend for backend in found if is_disabled(backend, gateway)]
    backends = [backend for backend in found if backend not in disabled]
    pools = [*_groups(backends, gateway), *_pools(backends)]
    async with open_admission(data.made() / "gateway", pools) as admission:
        opened = Gateway(backends, admission, disabled)
        try:
            yield opened
        finally:
            await opened.aclose()


def is_disabled(backend: Backend, settings: GatewaySettings) -> bool:
    """Whether settings say to leave *backend* alone; a hyphen is as good as an underscore."""
    disabled = {_plain(name) for name in settings.disabled}
    return not disabled.isdisjoint((_plain(backend.name), _plain(backend.kind.name)))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _pools(backends: Iterable[Backend]) -> Iterator[Pool]:
    for backend in backends:
        group = backend.kind.group
        within = _name(group) if group is not None else None
        yield Pool(backend.name, backend.limit, backend.section.queue, within)


def _groups(backends: Sequence[Backend], settings: GatewaySettings) -> Iterator[Pool]:
    groups = {b.kind.group.name: b.kind.group for b in backends if b.kind.group is not None}
    for name, group in groups.items():
        limit = settings.groups.get(name, group.limit)
        if not 1 <= limit <= group.most:
            raise SettingsError(
                f"[gateway.groups] {name} = {limit}: it must be from 1 to {group.most}"
            )
        yield Pool(_name(group), limit)


def _name(group: Group) -> str:
    """Apart from the names of backends, which have no colon."""
    return f"group:{group.name}"
