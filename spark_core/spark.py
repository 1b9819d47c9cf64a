"""Everything composed: settings, plugins and what they offer, ready to be called."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cached_property
from types import NoneType
from typing import Any, Concatenate, Final, TypeVar, overload

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from .changes import Caller, Change
from .clock import Clock, SystemClock
from .containment import contained
from .errors import InvalidRequest, NotFound, PluginError, Problem, SparkError
from .operations import Effect, Operation, Progress, needs_of
from .plugins import Plugins
from .references import resolved
from .resolution import Resolver
from .settings import CoreSettings, DataDirectory, Settings, Source, nearest
from .state import AuditLog

__all__ = ["Caller", "Spark", "check_request", "compose"]

Q = TypeVar("Q", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


class _Silent:
    """The progress of somebody who does not listen."""

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        """Nobody is told."""


class Spark:
    """What is installed and configured, ready to be called: what :func:`spark_core.open` gives."""

    def __init__(self, plugins: Plugins, settings: Settings, resolver: Resolver) -> None:
        self.plugins = plugins
        self.settings = settings
        self.resolver = resolver
        self.operations = {operation.name: operation for operation in plugins.operations()}

    @cached_property
    def _by_function(self) -> Mapping[Callable[..., Any], Operation]:
        return {operation.function: operation for operation in self.operations.values()}

    def operation(self, name: str) -> Operation:
        """The operation called *name*.

        :raises NotFound: nothing installed offers it.
        """
        if name not in self.operations:
            raise NotFound(f"there is no operation {name!r}{nearest(name, self.operations)}")
        return self.operations[name]

    @overload
    async def call(
        self,
        operation: Callable[Concatenate[Q, ...], Awaitable[R]],
        request: Q | Mapping[str, Any] | None = None,
        *,
        caller: str = ...,
        progress: Progress | None = None,
    ) -> R: ...

    @overload
    async def call(
        self,
        operation: Callable[Concatenate[Q, ...], AsyncIterator[R]],
        request: Q | Mapping[str, Any] | None = None,
        *,
        caller: str = ...,
        progress: Progress | None = None,
    ) -> R | None: ...

    @overload
    async def call(
        self,
        operation: Callable[..., Awaitable[R]],
        request: None = None,
        *,
        caller: str = ...,
        progress: Progress | None = None,
    ) -> R: ...

    @overload
    async def call(
        self,
        operation: str | Operation,
        request: BaseModel | Mapping[str, Any] | None = None,
        *,
        caller: str = ...,
        progress: Progress | None = None,
    ) -> Any: ...

    async def call(
        self,
        operation: str | Operation | Callable[..., Any],
        request: BaseModel | Mapping[str, Any] | None = None,
        *,
        caller: str = "python",
        progress: Progress | None = None,
    ) -> Any:
        """Run an operation and return its result; of a stream, the last event.

        *operation* is its name, or the plugin's own function, which types the result; by its
        name the result is ``Any``. A stream without events has None::

            answer = await spark.call("search", {"query": "who knows about bearings?"})

        See :func:`check_request` for what a mapping may hold.

        What writes or operates is audited under *caller*'s name.

        :raises InvalidRequest: *request* does not fit the operation's model.
        :raises NotFound: there is no such operation.
        :raises SparkError: whatever the operation raises.
        """
        result = None
        async for event in self.stream(operation, request, caller=caller, progress=progress):
            result = event
        return result

    @overload
    def stream(
        self,
        operation: Callable[..., AsyncIterator[R] | Awaitable[R]],
        request: BaseModel | Mapping[str, Any] | None = None,
        *,
        caller: str = ...,
        progress: Progress | None = None,
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def stream(
        self,
        operation: str | Operation,
        request: BaseModel | Mapping[str, Any] | None = None,
        *,
        caller: str = ...,
        progress: Progress | None = None,
    ) -> AsyncGenerator[BaseModel, None]: ...

    async def stream(
        self,
        operation: str | Operation | Callable[..., Any],
        request: BaseModel | Mapping[str, Any] | None = None,
        *,
        caller: str = "python",
        progress: Progress | None = None,
    ) -> AsyncGenerator[BaseModel, None]:
        """Run an operation and yield its events as they come; of a plain one, its result."""
        found = self._find(operation)
        checked = check_request(found, request)
        change = Change()
        async with self._audited(found, caller, change):
            extra = {
                Spark: self,
                Caller: Caller(caller),
                Progress: progress or _Silent(),
                Change: change,
            }
            with contained(f"operation {found.name}"):
                arguments = await self.resolver.fill(found.function, extra)
                if found.takes_request:
                    arguments["request"] = checked
                # Closed here: who stops listening must not leave the operation running.
                async with aclosing(_results(found, arguments)) as results:
                    async for result in results:
                        yield self._checked(found, result)

    async def require(self, operation: Operation, given: Mapping[str, Any]) -> None:
        """Await the precondition of *operation*, if it has one, with the fields *given*.

        :raises SparkError: it does not hold.
        """
        if operation.precondition is None:
            return
        precondition = resolved(operation.precondition)
        with contained(f"precondition of {operation.name}"):
            arguments = await self.resolver.fill(precondition)
            if (model := needs_of(precondition).get("request")) is not None:
                arguments["request"] = model(**given)
            await precondition(**arguments)

    @asynccontextmanager
    async def _audited(
        self, operation: Operation, caller: str, change: Change
    ) -> AsyncIterator[None]:
        """Leave an audit entry of what writes or operates: what it changed, how it ended."""
        if operation.effect is Effect.READ:
            yield
            return
        audit: AuditLog = await self.resolver.get(AuditLog)
        # Before it begins, so that it leaves a trace even if this process is killed.
        start = await audit.start(caller, operation.name)
        outcome = "interrupted"
        try:
            yield
            outcome = "ok"
        except SparkError as error:
            outcome = error.code
            raise
        except Exception as error:
            outcome = f"failed: {type(error).__name__}"
            raise
        finally:
            await audit.record(
                caller,
                change.action or operation.name,
                resource=change.resource,
                outcome=outcome,
                detail=change.detail(operation),
                start=start,
            )

    def _checked(self, operation: Operation, result: Any) -> BaseModel:
        """*result*, which every host takes for a model.

        :raises PluginError: it is none.
        """
        if isinstance(result, BaseModel):
            return result
        owner = "this program"
        if self.operations.get(operation.name) is operation:
            owner = self.plugins.distribution_of(operation)
        declared = " or ".join(model.__name__ for model in operation.response)
        given = "nothing" if result is None else type(result).__name__
        raise PluginError(
            f"operation {operation.name} of {owner} gave {given} where it declares {declared}"
        )

    def _find(self, operation: str | Operation | Callable[..., Any]) -> Operation:
        if isinstance(operation, Operation):
            return operation
        if callable(operation):
            if operation not in self._by_function:
                raise NotFound(f"{operation.__qualname__} is not an installed operation")
            return self._by_function[operation]
        return self.operation(operation)


async def _results(operation: Operation, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
    """The events of *operation*, or its one result."""
    if not operation.streams:
        yield await operation.function(**arguments)
        return
    async with aclosing(operation.function(**arguments)) as events:
        async for event in events:
            yield event


def check_request(
    operation: Operation,
    request: BaseModel | Mapping[str, Any] | None = None,
    *,
    text: Mapping[str, Any] | None = None,
) -> BaseModel:
    """*request* as the operation's own model.

    A model of the operation's own was checked when it was made. Anything else is what its
    JSON would be, and types are strict as in JSON: ``"5"`` is no number and ``1`` is not true.
    So Python callers may write a date as one or in ISO format, an enum's member or its value,
    a tuple or a list.

    *text* holds the fields that were given where there is nothing but text: in a query, in a
    path, on a command line. ``"5"`` is a number there.

    :raises InvalidRequest: it does not fit; ``problems`` point at each field.
    """
    if isinstance(request, operation.request) and not text:
        return request
    model, typed = operation.request, _plain(request)
    given = {**typed, **text} if text else typed
    found, errors = None, list[ErrorDetails]()
    if typed or not text:
        found, errors = _attempt(lambda: _strictly(model, given))
    if text:  # text is not strictly anything else, so of the first look only the rest counts
        errors = [error for error in errors if error["loc"] and error["loc"][0] in typed]
        found, lax = _attempt(lambda: model.model_validate(given, extra="forbid"))
        known = {error["loc"] for error in errors}
        errors += [error for error in lax if error["loc"] not in known]
    if found is None or errors:
        raise _invalid([_problem(model, given, error) for error in errors])
    return found


def _attempt(check: Callable[[], BaseModel]) -> tuple[BaseModel | None, list[ErrorDetails]]:
    try:
        return check(), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _strictly(model: type[BaseModel], given: Any) -> BaseModel:
    # From JSON text: only then does pydantic know that a date or a set cannot but be written so.
    return model.model_validate_json(_json(given), strict=True, extra="forbid")


def _invalid(problems: Sequence[Problem]) -> InvalidRequest:
    first = problems[0]
    place = first.pointer.removeprefix("/") or "the request"
    return InvalidRequest(f"{place}: {first.detail}", problems=problems)


def _plain(request: BaseModel | Mapping[str, Any] | None) -> Any:
    """*request* as JSON has it.

    :raises InvalidRequest: there is something in it that JSON cannot hold.
    """
    try:
        return from_json(_json(_revealed({} if request is None else request)))
    except (ValueError, RecursionError):
        fields = request if isinstance(request, Mapping) else {}
        wrong = [_pointer([str(name)]) for name, value in fields.items() if not _is_json(value)]
        raise _invalid([Problem(pointer, _NO_JSON) for pointer in wrong or [""]]) from None


_NO_JSON: Final = "it is not what JSON can hold, or nested too deeply"


def _is_json(value: Any) -> bool:
    try:
        from_json(_json(_revealed(value)))
    except (ValueError, RecursionError):
        return False
    return True


def _json(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="constants")


def _revealed(value: Any) -> Any:
    """*value* with its secrets, which pydantic would write as stars."""
    if type(value) in (str, int, float, bool, NoneType):  # most are, and large bodies take long
        return value
    if isinstance(value, dict | Mapping):
        return {name: _revealed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_revealed(inner) for inner in value]
    if isinstance(value, BaseModel):
        return _revealed(value.model_dump())
    if isinstance(value, SecretStr | SecretBytes | Secret):
        return _revealed(value.get_secret_value())
    return value


def _problem(model: type[BaseModel], given: Any, error: ErrorDetails) -> Problem:
    path = list(_path(given, error))
    detail = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = model.model_fields if len(path) == 1 else ()
        detail = f"there is no such field{nearest(path[-1], known)}"
    return Problem(_pointer(path), detail)


def _pointer(path: Iterable[str]) -> str:
    parts = (part.replace("~", "~0").replace("/", "~1") for part in path)
    return "".join(f"/{part}" for part in parts)


def _path(given: Any, error: ErrorDetails) -> Iterator[str]:
    """Where in *given* the error is. pydantic also names a union's choices on the way."""
    *way, last = error["loc"] or (None,)
    for part in way:
        with suppress(LookupError, TypeError):
            given = given[part]
            yield str(part)
    found = isinstance(given, Mapping) and last in given
    found |= isinstance(given, list) and isinstance(last, int)
    if found or error["type"] == "missing":
        yield str(last)


def compose(source: Source, *, clock: Clock | None = None, plugins: Plugins | None = None) -> Spark:
    """What :func:`.opening.open` opens, for hosts: nothing is opened yet, no loop is needed.

    What plugins refer to is imported when it is used. A host that presents all of it examines
    them first.
    """
    disabled = source.disabled_plugins()
    plugins = plugins or Plugins.discover(disabled, examined=False)
    settings = Settings.check(source, plugins.settings_sections())
    if settings.section(CoreSettings).plugin_errors == "refuse":
        plugins.examine()
        if broken := plugins.broken():
            names = "; ".join(f"{p.name} ({p.distribution} {p.version}): {p.error}" for p in broken)
            raise PluginError(f"broken plugins: {names}")
    given: dict[type, Any] = {
        Clock: clock or SystemClock(),
        DataDirectory: settings.data_directory,
        Plugins: plugins,
        Settings: settings,
    }
    return Spark(plugins, settings, Resolver(plugins, settings, given))
