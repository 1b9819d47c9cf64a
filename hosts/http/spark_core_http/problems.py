"""Errors as answers: RFC 9457 problem details, one shape for everything that goes wrong."""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import falcon
from falcon.asgi import Request, Response

from spark_core.errors import (
    BackendError,
    Conflict,
    Forbidden,
    InvalidRequest,
    Locked,
    NotConfigured,
    NotFound,
    PluginError,
    SettingsError,
    SourceError,
    SparkError,
    StorageFull,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnknownChoice,
)

from .headers import request_id
from .openai_errors import error_answer, standard_body

__all__ = [
    "PROBLEM_JSON",
    "STATUS",
    "answer",
    "describe",
    "headers_of",
    "log_failure",
    "parser_problem",
]

PROBLEM_JSON: Final = "application/problem+json"

#: The status of each error; one that is not here has that of its nearest ancestor.
STATUS: Final[Mapping[type[SparkError], int]] = {
    SparkError: 500,
    SettingsError: 500,
    NotConfigured: 503,
    PluginError: 500,
    InvalidRequest: 422,
    UnknownChoice: 400,
    NotFound: 404,
    Conflict: 409,
    Locked: 423,
    Forbidden: 403,
    Unauthenticated: 401,
    SourceError: 502,  # like a backend: this host is well, what it reads from is not
    BackendError: 502,
    Unavailable: 503,
    TimedOut: 504,
    StorageFull: 507,
}

_DETAILS: Final = {
    404: "there is nothing at this path; GET / lists what there is",
    405: "this method is not allowed here; the Allow header lists those that are",
    500: "something unexpected went wrong; the log says where, under the x-request-id",
}

log = logging.getLogger(__name__)


async def answer(
    req: Request, resp: Response, error: Exception, params: Mapping[str, Any], ws: object = None
) -> None:
    """Answer with the problem that *error* is; Falcon calls it for whatever is raised."""
    log_failure(error, req)
    problem = describe(error)
    resp.status = problem["status"]
    resp.stream = None
    resp.content_type = PROBLEM_JSON
    resp.data = json.dumps(problem).encode()
    resp.set_headers(headers_of(error))
    if req.path.strip("/").partition("/")[0] == "v1":  # whoever asks there speaks OpenAI's API
        resp.content_type = falcon.MEDIA_JSON
        resp.status, resp.data = _as_openai_would(error, problem)


def _as_openai_would(error: Exception, problem: Mapping[str, Any]) -> tuple[int, bytes]:
    if isinstance(error, SparkError):
        status, _, body = error_answer(error)
        return status, body
    return problem["status"], standard_body(problem["status"], problem["detail"])


def describe(error: Exception) -> dict[str, Any]:
    """The problem details of *error*: those of an unexpected one tell nothing about it."""
    if isinstance(error, SparkError):
        return _expected(error)
    if isinstance(error, falcon.HTTPError):
        return _standard(error.status_code, error.description)
    return _standard(500, None)


def headers_of(error: Exception) -> dict[str, str]:
    """The headers that belong to *error*: when to try again, how, by which methods."""
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, Unavailable):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if isinstance(error, falcon.HTTPError):
        return dict(error.headers or {})
    return {}


def _expected(error: SparkError) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "type": f"urn:spark-core:{error.code}",
        "title": error.code.replace("-", " ").capitalize(),
        "status": _status_of(error),
        "detail": error.message,
    }
    if error.hint:
        problem["hint"] = error.hint
    if isinstance(error, InvalidRequest):
        problem["errors"] = [{"pointer": p.pointer, "detail": p.detail} for p in error.problems]
    if isinstance(error, Locked) and error.expires_at is not None:
        problem["holder"] = error.holder
        problem["expires_at"] = error.expires_at.isoformat()
    return problem


def _status_of(error: SparkError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _standard(status: int, detail: str | None) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    detail = detail or _DETAILS.get(status, title)
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def parser_problem(status: int, detail: str) -> bytes:
    """The body of a problem with what may not even be a request: whoever asked can read it."""
    error = json.loads(standard_body(status, detail))
    return json.dumps({**_standard(status, detail), **error}).encode()


# ------------------------------------------------------------------------------ what is logged


def log_failure(error: BaseException, req: Request) -> None:
    """Log *error* if it is this host's and not the caller's, without what may be private.

    That is its text, which may quote the request, and the path, of which only the template
    is named.
    """
    what = f"{req.method} {req.uri_template} (request {request_id(req)})"
    if isinstance(error, SparkError):
        if _status_of(error) >= 500:
            log.warning("%s: %s", what, error.code)
    elif not isinstance(error, falcon.HTTPError):
        log.error("%s failed\n%s", what, "".join(_trace(error)))


def _trace(error: BaseException) -> Iterator[str]:
    if error.__cause__ is not None:
        yield from _trace(error.__cause__)
        yield "which caused\n"
    elif error.__context__ is not None and not error.__suppress_context__:
        yield from _trace(error.__context__)
        yield "and while that was handled\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _trace(inner)
