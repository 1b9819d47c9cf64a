"""Errors in the shape of OpenAI's API, for everything under ``/v1``."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any

from spark_core.errors import (
    BackendError,
    Conflict,
    Forbidden,
    InvalidRequest,
    Locked,
    NotConfigured,
    NotFound,
    SparkError,
    StorageFull,
    TimedOut,
    Unavailable,
)
from spark_core.gateway.admission import Busy
from spark_core.gateway.connection import Header
from spark_core.gateway.gateway import UnknownModel
from spark_core.gateway.upstream import Refused

__all__ = ["Incomplete", "TooLarge", "error_answer", "error_body", "standard_body"]


class TooLarge(InvalidRequest):
    """A body is larger than what is taken."""


class Incomplete(InvalidRequest):
    """The rest of a body will not come."""


#: For each error its status, OpenAI's type, and its code where it is not the error's own.
_STATUSES: tuple[tuple[type[SparkError], int, str, str | None], ...] = (
    (Forbidden, 403, "invalid_request_error", None),
    (Locked, 423, "invalid_request_error", None),
    (Conflict, 409, "invalid_request_error", None),
    (TooLarge, 413, "invalid_request_error", "too_large"),
    (Incomplete, 408, "invalid_request_error", "incomplete"),
    (InvalidRequest, 400, "invalid_request_error", None),
    (UnknownModel, 404, "invalid_request_error", "model_not_found"),
    (NotFound, 404, "invalid_request_error", None),
    (NotConfigured, 503, "server_error", None),
    (Busy, 503, "server_error", "busy"),
    (Refused, 502, "server_error", "backend_down"),
    (TimedOut, 504, "server_error", "backend_timeout"),
    (Unavailable, 503, "server_error", None),
    (StorageFull, 507, "server_error", None),
    (BackendError, 502, "server_error", "backend_error"),
    (SparkError, 500, "server_error", None),
)


def error_answer(error: SparkError) -> tuple[int, list[Header], bytes]:
    """The status, the headers and the body that tell of *error*."""
    status, kind, code = next(
        (status, kind, code) for cls, status, kind, code in _STATUSES if isinstance(error, cls)
    )
    headers = []
    if isinstance(error, Unavailable) and status == 503:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    more: dict[str, Any] = {}
    if isinstance(error, Busy):
        more = {"position": error.position, "expected_wait_s": round(error.expected_s, 1)}
    pointer = (
        error.problems[0].pointer if isinstance(error, InvalidRequest) and error.problems else ""
    )
    param = "model" if isinstance(error, UnknownModel) else pointer.removeprefix("/") or None
    return status, headers, error_body(str(error), kind, code or error.code, param, more)


def standard_body(status: int, detail: str) -> bytes:
    """The body of what HTTP itself calls wrong: a path, a method, a host's name."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return error_body(detail, kind, HTTPStatus(status).phrase.lower().replace(" ", "_"))


def error_body(
    message: str, kind: str, code: str, param: str | None = None, more: dict[str, Any] | None = None
) -> bytes:
    """The body of an error."""
    error = {"message": message, "type": kind, "param": param, "code": code, **(more or {})}
    return json.dumps({"error": error}).encode()
