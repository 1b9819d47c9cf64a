"""Who may ask on the routes that are the operator's: whoever shows the scheduler's token."""

from __future__ import annotations

import hmac
import logging
import re
from typing import Final

from falcon.asgi import Request
from pydantic import SecretStr

from spark_core.errors import Forbidden, Unauthenticated

__all__ = ["Gate"]

#: What is guarded, as the templates of paths: operations of any plugin.
GUARDED: Final = re.compile(r"/api/admin(/.*)?|/api/health/detailed", re.DOTALL)

#: The fewest characters of a token that is one.
SHORTEST: Final = 32

#: How the audit names whoever shows the token.
SCHEDULER: Final = "scheduler@system.local"

log = logging.getLogger(__name__)


class Gate:
    """Lets in who shows *token*. Without one everybody is let in; one too short lets in nobody."""

    def __init__(self, token: SecretStr | None) -> None:
        text = token.get_secret_value().strip() if token is not None else ""
        self._token = text.encode(errors="surrogateescape") if len(text) >= SHORTEST else None
        self._is_open = not text
        self._warned = False

    def known(self, path: str, req: Request) -> str | None:
        """Who asks on the route *path*, as the audit names them; None if that does not matter.

        :raises Unauthenticated: they show no token, and must.
        :raises Forbidden: they show another one.
        """
        if not GUARDED.fullmatch(path):
            return None
        if self._is_open:
            self._warn()
            return None
        shown = _shown(req)
        if self._token is None:
            raise Forbidden(
                f"these routes are closed: the scheduler's token is shorter than {SHORTEST}",
                hint="set SCHEDULER_API_TOKEN to a longer one",
            )
        if shown is None:
            raise Unauthenticated("this takes the scheduler's token", hint="send it as a bearer")
        if not hmac.compare_digest(shown, self._token):
            raise Forbidden("this is not the scheduler's token")
        return SCHEDULER

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("/api/admin/ is open to everybody: SCHEDULER_API_TOKEN is not set")


def _shown(req: Request) -> bytes | None:
    """The bearer token of *req*, as its bytes came."""
    scheme, _, token = (req.get_header("Authorization") or "").partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None
