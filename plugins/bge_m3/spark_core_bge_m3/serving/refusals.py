"""Why a request is not answered, in the shape of OpenAI's errors."""

from __future__ import annotations

import json
from http import HTTPStatus

__all__ = ["Refusal", "body_of"]


class Refusal(Exception):
    """A request that is not answered: the status, and what is said about it.

    ``code`` is the error's stable name, ``param`` the field that is wrong, and ``retry_after``
    the seconds after which it may go better. The message holds no piece of the request's text.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        code: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after


def body_of(status: int, message: str, code: str, param: str | None = None) -> bytes:
    """The body of an error's answer."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}).encode()
