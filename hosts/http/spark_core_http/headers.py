"""What every answer has in its head, whether it is an answer or a problem."""

from __future__ import annotations

import re
import uuid

from falcon.asgi import Request, Response

__all__ = ["SANE", "StandardHeaders", "request_id", "server_timing"]

SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(req: Request) -> str:
    """The id of *req*, in its answer and in the log: its own if that is sane, else a new one."""
    if "request_id" not in req.context:
        given = req.get_header("X-Request-Id") or ""
        req.context.request_id = given if SANE.fullmatch(given) else uuid.uuid4().hex
    return str(req.context.request_id)


def server_timing(queued_s: float, asked_s: float, added_s: float) -> bytes:
    """What ``server-timing`` says: the seconds in line, at backends, and in between."""
    return b"queue;dur=%.2f, backend;dur=%.2f, gateway;dur=%.2f" % (
        queued_s * 1e3, asked_s * 1e3, added_s * 1e3,
    )  # fmt: skip


class StandardHeaders:
    """Falcon middleware: the request's id, and that nobody keeps an answer or guesses at it."""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """Set the headers."""
        resp.set_header("X-Request-Id", request_id(req))
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("X-Content-Type-Options", "nosniff")
