"""The arguments and options of a command, made from the fields of an operation's request."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Union

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from spark_core import Env
from spark_core.errors import InvalidRequest, Problem
from spark_core.operations import Operation

from .values import JSON, JSON_OR_TEXT, Named, encodable, pairs

__all__ = ["Bound", "bind", "gather", "usage_error"]

#: Options that commands, or `spark` itself, have of their own.
RESERVED = frozenset({"--config", "--debug", "--help", "--json", "--version", "--yes"})


@dataclass(frozen=True)
class Bound:
    """A field of the request, bound to the parameter that fills it.

    ``read`` makes the field's value from the parameter's.
    """

    key: str
    parameter: click.Parameter
    read: Callable[[Any], Any]


def bind(operation: Operation) -> list[Bound]:
    """Each field of *operation*'s request with its parameter, in order.

    A field whose option is taken, by a command's own or an earlier field's, has the option
    `--field-NAME`.
    """
    bound, taken = list[Bound](), set(RESERVED)
    for name, info in operation.request.model_fields.items():
        option = _dashed(name)
        while taken & _options(field := _bind(name, option, info)):
            option = f"--field-{option[2:]}"
        taken |= _options(field)
        bound.append(field)
    return bound


def _options(bound: Bound) -> set[str]:
    words = (*bound.parameter.opts, *bound.parameter.secondary_opts)
    return {word for word in words if word.startswith("--")}


def gather(bound: Iterable[Bound], values: Mapping[str, Any]) -> dict[str, Any]:
    """The request that *values*, by their parameters' names, make; what is not given is absent.

    :raises click.UsageError: a value is not of its parameter's form.
    """
    request = {}
    for field in bound:
        value = values[field.parameter.name]
        if value is None or value == ():
            continue
        try:
            request[field.key] = encodable(field.read(value))
        except ValueError as error:
            raise click.BadParameter(str(error), param=field.parameter) from None
    return request


def usage_error(error: InvalidRequest, bound: Iterable[Bound]) -> click.UsageError:
    """*error* in the words of the command line: the first of what is wrong, and where."""
    context = click.get_current_context()
    if not error.problems:
        return click.UsageError(error.message, context)
    problem = error.problems[0]
    key, inside = _place(problem)
    parameter = next((b.parameter for b in bound if b.key == key), None)
    if parameter is None:
        return click.UsageError(error.message, context)
    detail = f"{inside}: {problem.detail}" if inside else problem.detail
    return click.BadParameter(detail, context, parameter)


def _place(problem: Problem) -> tuple[str, str]:
    key, _, inside = problem.pointer.removeprefix("/").partition("/")
    return key, inside.replace("/", ".")


# ------------------------------------------------------------------------------------ fields


def _bind(name: str, option: str, info: FieldInfo) -> Bound:
    key = info.validation_alias if isinstance(info.validation_alias, str) else name
    kind = _unwrapped(info.annotation)
    if kind is bool:
        return Bound(key, _flag(name, option, info), bool)
    if _is_mapping(kind):
        text = typing.get_args(kind)[1:] == (str,)
        return Bound(
            key,
            _option(name, option, info, multiple=True, metavar="KEY=VALUE"),
            partial(pairs, text=text),
        )
    if _is_collection(kind):
        return Bound(key, _option(name, option, info, multiple=True, type=_type(_item(kind))), list)
    if info.is_required() and (word := _type(kind)) is not JSON:
        return Bound(key, _argument(name, info, word), _same)
    return Bound(key, _option(name, option, info, type=_type(kind)), _same)


def _same(value: Any) -> Any:
    return value


def _argument(name: str, info: FieldInfo, word: click.ParamType[Any]) -> click.Argument:
    choices = f"One of: {', '.join(word.choices)}." if isinstance(word, Named) else ""
    text = _sentences(info.description, choices)
    return click.Argument([name], type=word, metavar=name.upper(), help=text)


def _option(name: str, option: str, info: FieldInfo, **more: Any) -> click.Option:
    repeated = "May be repeated." if more.get("multiple") else ""
    variable = next((mark.name for mark in info.metadata if isinstance(mark, Env)), None)
    from_there = f"[environment: {variable}]" if variable else ""
    text = _sentences(info.description, repeated, _default(info), from_there)
    required = info.is_required()
    return click.Option([option, name], required=required, help=text, envvar=variable, **more)


def _flag(name: str, option: str, info: FieldInfo) -> click.Option:
    either = f"{option}/--no-{option[2:]}"
    if info.is_required():
        return click.Option([either, name], required=True, help=info.description)
    default = f"[default: {option[2:]}]" if info.default else ""
    # The model fills the default in, so that it knows what was given and what was not.
    return click.Option(
        [option if info.default is False else either, name],
        is_flag=True,
        default=None,
        help=_sentences(info.description, default),
    )


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def _sentences(*parts: str | None) -> str:
    return "  ".join(filter(None, parts))


def _default(info: FieldInfo) -> str:
    default = info.default.value if isinstance(info.default, enum.Enum) else info.default
    if default in (PydanticUndefined, None, "") or default in ([], (), {}):
        return ""
    return f"[default: {default}]"


# ------------------------------------------------------------------------------------- types


def _unwrapped(annotation: Any) -> Any:
    """*annotation* without its marks, its alias and ``None``."""
    if hasattr(annotation, "__value__"):  # type X = ...
        return _unwrapped(annotation.__value__)
    if typing.get_origin(annotation) is Annotated:
        return _unwrapped(typing.get_args(annotation)[0])
    if _is_union(annotation):
        choices = [a for a in typing.get_args(annotation) if a is not types.NoneType]
        return _unwrapped(choices[0]) if len(choices) == 1 else annotation
    return annotation


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def _is_a(kind: Any, *bases: type) -> bool:
    container = typing.get_origin(kind) or kind
    return isinstance(container, type) and issubclass(container, bases)


def _is_mapping(kind: Any) -> bool:
    return _is_a(kind, Mapping) and not typing.is_typeddict(kind)


def _is_collection(kind: Any) -> bool:
    text = _is_a(kind, str, bytes, enum.Enum)
    return (_is_a(kind, Collection) or typing.get_origin(kind) is Iterable) and not text


def _item(kind: Any) -> Any:
    items = set(typing.get_args(kind)) - {...}
    return _unwrapped(items.pop()) if len(items) == 1 else Any


def _type(kind: Any) -> click.ParamType[Any]:
    if typing.get_origin(kind) is Literal:
        return Named({str(value): value for value in typing.get_args(kind) if value is not None})
    if _is_a(kind, enum.Enum):
        return Named({str(member.value): member for member in kind})
    if _is_a(kind, BaseModel, Mapping) or _is_collection(kind) or dataclasses.is_dataclass(kind):
        return JSON
    if kind in (Any, object) or _is_union(kind):
        return JSON_OR_TEXT
    simple = {bool: click.BOOL, int: click.INT, float: click.FLOAT}
    return simple.get(kind, click.STRING)
