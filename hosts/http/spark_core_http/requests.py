"""From an HTTP request to the fields of an operation's request."""

from __future__ import annotations

import collections.abc
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final, Never
from urllib.parse import parse_qsl

import falcon
from falcon.asgi import Request
from pydantic import BaseModel

from spark_core.errors import InvalidRequest, Problem

from .uploads import read_body

__all__ = ["JSON", "list_fields", "read_fields"]

JSON: Final = "application/json"
MAX_PARAMETERS: Final = 1000

#: JSON, under its own name or under what ``curl -d`` calls everything it is not told about.
ACCEPTED: Final = (JSON, "application/x-www-form-urlencoded", "")


async def read_fields(
    req: Request, path: Mapping[str, str], lists: frozenset[str], max_body: int
) -> dict[str, Any]:
    """The fields that *req* gives: in its JSON body, in its query string and in its *path*.

    In the query a field of *lists* may be repeated, and any other is given once.

    :raises InvalidRequest: it cannot be understood as fields, or a field is given twice.
    :raises falcon.HTTPError: the body is too large, not JSON, or cut off.
    """
    body = {} if req.method in ("GET", "HEAD") else await _body_fields(req, max_body)
    return _joined(body, _query_fields(req.query_string, lists), path)


def list_fields(model: type[BaseModel]) -> frozenset[str]:
    """The names of the fields of *model* that take several values."""
    fields = {n: i for n, i in model.model_fields.items() if _is_list(i.annotation)}
    return frozenset([*fields, *(info.alias for info in fields.values() if info.alias)])


def _is_list(annotation: Any) -> bool:
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
                raise _given_twice(name)
        fields.update(part)
    return fields


def _given_twice(name: str) -> InvalidRequest:
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    detail = "it is given more than once"
    return InvalidRequest(f"{name}: {detail}", problems=[Problem(pointer, detail)])


# ---------------------------------------------------------------------------------------- query


def _query_fields(query: str, lists: frozenset[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in _parameters(query):
        if name in lists:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise _given_twice(name)
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
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
        if b"\\u" in body:  # only escapes can make a text that is none
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise falcon.HTTPError(400, description=_what_is_wrong(error)) from None


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
