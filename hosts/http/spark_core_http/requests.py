"""From an HTTP request to the fields of an operation's request."""

from __future__ import annotations

import collections.abc
import json
import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Never
from urllib.parse import parse_qsl

import falcon
from falcon.asgi import Request
from pydantic import BaseModel

from spark_core.errors import InvalidRequest, Problem

from .uploads import read_body

__all__ = ["JSON", "header_fields", "list_fields", "read_fields"]

JSON: Final = "application/json"
MAX_PARAMETERS: Final = 1000

#: JSON, under its own name or under what ``curl -d`` calls everything it is not told about.
ACCEPTED: Final = (JSON, "application/x-www-form-urlencoded", "")


async def read_fields(
    req: Request, path: Mapping[str, str], lists: frozenset[str], max_body: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that *req* gives: those of its JSON body, which are typed, and as text those
    of its query string and its *path*.

    In the query a field of *lists* may be repeated, and any other is given once.

    :raises InvalidRequest: it cannot be understood as fields, or a field is given twice.
    :raises falcon.HTTPError: the body is too large, not JSON, or cut off.
    """
    body = {} if req.method in ("GET", "HEAD") else await _body_fields(req, max_body)
    text = _joined(_query_fields(req.query_string, lists), path)
    _joined(body, text)
    return body, text


def header_fields(req: Request, names: Mapping[str, str]) -> dict[str, str]:
    """The fields that headers of *req* give, *names* saying which header is which field."""
    given = ((field, req.get_header(header)) for header, field in names.items())
    return {field: value for field, value in given if value is not None}


def list_fields(model: type[BaseModel]) -> frozenset[str]:
    """The names of the fields of *model* that take several values."""
    fields = {n: i for n, i in model.model_fields.items() if _is_list(i.annotation)}
    aliases = (info.validation_alias for info in fields.values())
    return frozenset([*fields, *(alias for alias in aliases if isinstance(alias, str))])


def _is_list(annotation: Any) -> bool:
    if hasattr(annotation, "__value__"):  # type X = ...
        return _is_list(annotation.__value__)
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        return any(_is_list(choice) for choice in typing.get_args(annotation))
    if origin is typing.Annotated:
        return _is_list(typing.get_args(annotation)[0])
    if not isinstance(origin, type) or issubclass(origin, str | bytes | collections.abc.Mapping):
        return False
    return issubclass(origin, collections.abc.Collection)


def _joined(*parts: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for part in parts:
        for name in part:
            if name in fields:
                raise _given_twice([name])
        fields.update(part)
    return fields


def _given_twice(place: Iterable[str]) -> InvalidRequest:
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in place)
    detail = "it is given more than once"
    return InvalidRequest(f"{pointer[1:]}: {detail}", problems=[Problem(pointer, detail)])


# ---------------------------------------------------------------------------------------- query


def _query_fields(query: str, lists: frozenset[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in _parameters(query):
        if name in lists:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise _given_twice([name])
        else:
            fields[name] = value
    return fields


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    try:
        yield from parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except UnicodeDecodeError:
        raise InvalidRequest("the query string is not UTF-8") from None
    except ValueError:
        raise InvalidRequest("the query string has too many parameters") from None


# ----------------------------------------------------------------------------------------- body


async def _body_fields(req: Request, max_body: int) -> dict[str, Any]:
    """The fields of the body; none where there is no body."""
    body = await read_body(req, max_body)
    if not body:
        return {}
    if (req.content_type or "").partition(";")[0].strip().lower() not in ACCEPTED:
        raise falcon.HTTPError(415, description=f"the body must be of content type {JSON}")
    value = _parsed(body)
    if not isinstance(value, dict):
        detail = "the body must be a JSON object"
        raise InvalidRequest(detail, problems=[Problem("", detail)])
    return value


def _parsed(body: bytes) -> Any:
    doubled: list[tuple[dict[str, Any], str]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """The object of *pairs*; of two of a name JSON itself would lose one in silence."""
        made = dict(pairs)
        if len(made) < len(pairs):
            counted = Counter(name for name, _ in pairs)
            doubled.append((made, next(n for n, count in counted.items() if count > 1)))
        return made

    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant, object_pairs_hook=keep)
        if b"\\u" in body:  # only escapes can make a text that is none
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise falcon.HTTPError(400, description=_what_is_wrong(error)) from None
    if doubled:
        holder, name = doubled[-1]  # the outermost, so nothing around it was lost
        raise _given_twice([*_way_to(holder, value), name])
    return value


def _way_to(holder: Any, value: Any) -> list[str]:
    """The keys and indices that lead to *holder* in *value*, which holds it."""
    ways: list[tuple[Any, list[str]]] = [(value, [])]
    while ways[-1][0] is not holder:
        found, way = ways.pop()
        inner = found.items() if isinstance(found, dict) else enumerate(found)
        ways += [(v, [*way, str(k)]) for k, v in inner if isinstance(v, dict | list)]
    return ways[-1][1]


def _what_is_wrong(error: ValueError | RecursionError) -> str:
    """Where the body is wrong, and how; never what stands there."""
    if isinstance(error, json.JSONDecodeError):
        reason = error.msg.partition(":")[0]
        return f"the body is not JSON at line {error.lineno}, column {error.colno}: {reason}"
    if isinstance(error, UnicodeDecodeError):
        return f"the body is not UTF-8 at byte {error.start}"
    if isinstance(error, UnicodeEncodeError):
        return "the body has half of a surrogate pair, which is no character"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    return "the body has a number that is not JSON, or far too long"


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)
