"""What plugins offer besides operations: frozen descriptions that hooks return.

Nothing here does anything. Core chooses and opens providers and resources; hosts present the
rest. An ``open`` or ``run`` names what it needs by type, as an operation does. Where a function
or a class is taken, so is where it is found, ``"package.module:name"``: see
:mod:`spark_core.references`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from .errors import PluginError
from .references import Referable, resolved

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .settings import Settings

__all__ = [
    "BackgroundService",
    "Command",
    "Job",
    "Panel",
    "Provider",
    "Resource",
    "SettingsSection",
    "StateSchema",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, init=False)
class SettingsSection:
    """A section of ``spark.toml``: its dotted ``path`` (``http``, ``plugins.qdrant``) and model."""

    path: str
    declared: Referable[type[BaseModel]]

    def __init__(self, path: str, model: Referable[type[BaseModel]]) -> None:
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "declared", model)

    @cached_property
    def model(self) -> type[BaseModel]:
        """The model, imported if it was given by name.

        :raises PluginError: it cannot be imported.
        """
        return resolved(self.declared)


@dataclass(frozen=True)
class Provider(Generic[T_co]):
    """One implementation of a contract, chosen in settings by its ``name``.

    ``open`` is its lifetime: an async context manager, entered on first need and left when the
    program ends. It should be quick; load large things when they are first used.

    Where settings choose none by name, the one that says it is ``configured`` is used (its
    address is set, for instance), else the ``embedded`` one, which works without settings.

    ``preload`` is awaited with what was opened, once, by hosts that live long, where an operation
    that needs it is in use: it loads what the first caller would otherwise wait for.
    """

    name: str
    open: Referable[Callable[..., AbstractAsyncContextManager[T_co]]]
    configured: Referable[Callable[[Settings], bool]] | None = None
    embedded: bool = False
    preload: Referable[Callable[[Any], Awaitable[None]]] | None = None


@dataclass(frozen=True)
class Resource(Generic[T]):
    """Something with a lifetime that operations may need by its ``type``.

    A type that is given by name is named where it is defined.
    """

    type: Referable[type[T]]
    open: Referable[Callable[..., AbstractAsyncContextManager[T]]]


@dataclass(frozen=True)
class StateSchema:
    """Tables of a plugin's own in the shared state.

    ``migrations`` is the package with its Alembic revisions, as ``package.module``; they run
    by themselves before the state is first used.
    """

    name: str
    migrations: str


@dataclass(frozen=True)
class Job:
    """An operation on a schedule: see :mod:`spark_core.schedules`. ``timeout`` is in seconds.

    ``timezone`` names the zone whose times the schedule means, such as ``Europe/Prague``. Where
    ``cadence`` is given, it tells what settings say: see :meth:`schedule_by`.
    """

    name: str
    schedule: str
    operation: str
    request: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 600.0
    timezone: str = "UTC"
    cadence: Referable[Callable[[Settings], str]] | None = None

    def schedule_by(self, settings: Settings) -> str:
        """Its schedule, as *settings* say."""
        return self.schedule if self.cadence is None else resolved(self.cadence)(settings)


@dataclass(frozen=True)
class BackgroundService:
    """A coroutine that runs in exactly one process at a time, by lease.

    When the process that runs it dies, another takes over within ``ttl`` seconds. ``run`` is
    cancelled when its lease is lost; one that returns or fails is started again after a pause.
    One that is to be ``everywhere`` runs in every process, and needs no lease.
    """

    name: str
    run: Referable[Callable[..., Awaitable[None]]]
    ttl: float = 15.0
    everywhere: bool = False


@dataclass(frozen=True)
class Panel:
    """What the dashboard shows for a plugin, over an operation's answer.

    ``fields`` names the columns, tiles or inputs, in order.
    """

    name: str
    title: str
    kind: Literal["table", "tiles", "form", "log"]
    operation: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """A command of the shell that is no operation, such as ``serve``.

    ``name`` is words with dots between, as an operation's. ``load`` names a click command as
    ``module:attribute``; it is imported when it is run.
    """

    name: str
    summary: str
    load: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w-]*(\.\w[\w-]*)*", self.name):
            raise PluginError(f"command name {self.name!r} is not made of words and dots")
