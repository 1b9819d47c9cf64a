"""Operations: typed async functions that every host presents.

A plugin writes one function and says what it does to the world; HTTP routes, commands and
tools follow from that::

    async def search(request: SearchRequest, store: VectorStore) -> SearchResponse:
        \"\"\"Search the firm's memory.\"\"\"

    Operation("search", search, Effect.READ)

Or it names the function, which is then imported when it is first used, and says itself what the
first line of the docstring says::

    Operation("search", "firm.search:search", Effect.READ, summary="Search the firm's memory.")

The parameter called ``request``, if there is one, is a pydantic model. Every other parameter
is a *need*, filled by its type (see :mod:`spark_core.resolution`). The result is a pydantic
model, or an async iterator of models: events, of which the last is the result.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from .errors import PluginError
from .references import Referable, resolved

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .requests import Empty

__all__ = ["Effect", "Empty", "Operation", "Progress", "needs_of"]


def __getattr__(name: str) -> Any:
    if name == "Empty":  # imported when it is used: declaring an operation needs no pydantic
        from .requests import Empty

        return Empty
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Effect(StrEnum):
    """What an operation does to the world; authorisation and confirmation follow from it."""

    READ = "read"  #: changes nothing
    WRITE = "write"  #: changes data
    OPERATE = "operate"  #: touches the cluster


@runtime_checkable
class Progress(Protocol):
    """A need of long work: tells whoever waits how far it is.

    Presented as a progress bar, as server-sent events, or not at all.
    """

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        """Say that *done* of *total* (``None``: unknown) *unit* of *phase* are done. Cheap."""
        ...


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked for.

    ``name`` is a verb, or a group and a verb: ``search``, ``ingest.backfill``. ``method``
    and ``path`` are its HTTP route. A ``{name}`` in the path is a field of the request. With
    ``GET`` the others are query parameters, so each is a single value or a list of such.
    ``tool`` offers it to agents, under the name that it says or under the operation's own; only
    what reads or changes our own data may be one, so that no agent can send anything outward.
    ``render`` tells a person the result in a terminal. ``command`` makes it a command of
    ``spark``; not where a request holds what is private, as everybody on a machine can see the
    arguments of its commands.
    ``summary`` is the first line of the handler's docstring; where the handler is given by name
    it is said here.

    ``status`` is that of an HTTP answer that succeeded; with 204 it has no body. ``headers``
    are HTTP headers that fill fields of the request, by their names in lower case.
    ``precondition`` is awaited before a host looks at anything else of a request; it names
    needs as the handler does, and its request is a model of the fields in ``headers``.
    ``in_use`` is awaited by hosts that live long, and names needs, too: where it says yes, they
    load what the handler needs before it is called first (see ``preload`` of
    :class:`~spark_core.declarations.Provider`). ``undo`` takes back what the handler told its
    :class:`~spark_core.changes.Change`: it is awaited with that and with the needs that it names.
    """

    name: str
    handler: Referable[Callable[..., Any]]
    effect: Effect
    method: Literal["GET", "POST", "PUT", "DELETE"] = "POST"
    path: str = ""
    tool: bool | str = False
    render: Referable[Callable[[Any], str]] | None = None
    command: bool = True
    summary: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    precondition: Referable[Callable[..., Awaitable[None]]] | None = None
    in_use: Referable[Callable[..., Awaitable[bool]]] | None = None
    undo: Referable[Callable[..., Awaitable[None]]] | None = None

    def __post_init__(self) -> None:
        if not all(part.replace("_", "").isalnum() for part in self.name.split(".")):
            raise PluginError(f"operation name {self.name!r} is not made of words and dots")
        if not self.path:
            object.__setattr__(self, "path", "/api/" + self.name.replace(".", "/"))
        if self.tool:
            self._check_tool()
        if not self.path.startswith("/"):
            raise PluginError(f"operation {self.name}: its path {self.path!r} needs a leading /")
        if not isinstance(self.handler, str):
            self.check_annotations()
        if not self.summary:
            object.__setattr__(self, "summary", self._first_line())

    def _check_tool(self) -> None:
        if self.effect is Effect.OPERATE:
            raise PluginError(
                f"operation {self.name} reaches beyond our own data, so it cannot be a tool"
            )
        if not (self.tool_name.isascii() and self.tool_name.replace("_", "").isalnum()):
            raise PluginError(
                f"operation {self.name}: the name of its tool, {self.tool_name!r}, is not made of "
                "letters, digits and underscores"
            )

    @property
    def tool_name(self) -> str:
        """What agents call it, if it is a tool."""
        return self.tool if isinstance(self.tool, str) else self.name.replace(".", "_")

    def check_annotations(self) -> None:
        """Fail where the plugin is loaded or examined, not where the operation is first called.

        :raises PluginError: the handler cannot be imported, or presented as it is annotated.
        """
        _ = self.request, self.response, self.needs

    def _first_line(self) -> str:
        if isinstance(self.handler, str):
            raise PluginError(
                f"operation {self.name}: its handler is given by name, but no summary",
                hint="say the first line of the handler's docstring: summary=...",
            )
        return (self.description or self.name).partition("\n")[0]

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The handler itself, imported if it was given by name.

        :raises PluginError: it cannot be imported.
        """
        return resolved(self.handler)

    @property
    def description(self) -> str:
        """The whole of the handler's docstring."""
        return inspect.getdoc(self.function) or ""

    @cached_property
    def _annotations(self) -> dict[str, Any]:
        return _annotations_of(self.function)

    @property
    def request(self) -> type[BaseModel]:
        """The request's model; :class:`Empty` where there is none."""
        from .requests import Empty

        return self._model(self._annotations["request"]) if self.takes_request else Empty

    @cached_property
    def takes_request(self) -> bool:
        """Whether the handler has a request parameter."""
        return "request" in needs_of(self.function)

    @cached_property
    def needs(self) -> Mapping[str, Any]:
        """The handler's other parameters, with their types."""
        return {k: v for k, v in needs_of(self.function).items() if k != "request"}

    @property
    def streams(self) -> bool:
        """Whether the result is an async iterator of events."""
        origin = typing.get_origin(self._annotations.get("return"))
        return origin in (
            collections.abc.AsyncIterator,
            collections.abc.AsyncGenerator,
            collections.abc.AsyncIterable,
        )

    @property
    def reports_progress(self) -> bool:
        """Whether it tells how far it is while it works."""
        return any(
            need is Progress or Progress in typing.get_args(need) for need in self.needs.values()
        )

    @cached_property
    def response(self) -> tuple[type[BaseModel], ...]:
        """The model of the result; of a stream, those of its events."""
        returned = self._annotations.get("return")
        if self.streams:
            returned = next(iter(typing.get_args(returned)), None)
        union = isinstance(returned, types.UnionType) or typing.get_origin(returned) is typing.Union
        choices = typing.get_args(returned) if union else (returned,)
        return tuple(self._model(choice) for choice in choices)

    def _model(self, annotation: Any) -> type[BaseModel]:
        from pydantic import BaseModel

        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        raise PluginError(
            f"operation {self.name}: {annotation!r} is not a pydantic model",
            hint="annotate the request and the result of its handler with models",
        )


def needs_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of *function* with their types, in order; ``return`` left out.

    :raises PluginError: a parameter has no annotation, or one that cannot be understood.
    """
    hints = _annotations_of(function)
    names = list(inspect.signature(function).parameters)
    if missing := [name for name in names if name not in hints]:
        raise PluginError(f"{function.__qualname__}: parameter {missing[0]} has no annotation")
    return {name: hints[name] for name in names}


def _annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    # A class is called for its __init__.
    is_class = isinstance(function, type)
    annotated = inspect.getattr_static(function, "__init__") if is_class else function
    try:
        return typing.get_type_hints(annotated)
    except (NameError, TypeError) as error:
        name = getattr(function, "__qualname__", repr(function))
        raise PluginError(f"{name}: {error} in its annotations") from error
