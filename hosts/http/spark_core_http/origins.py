"""The same-origin guard: other sites' pages must not make a browser change things here."""

from __future__ import annotations

from urllib.parse import urlsplit

import falcon
from falcon.asgi import Request

__all__ = ["refuse_cross_site"]

_PORTS = {"http": 80, "https": 443}


def refuse_cross_site(req: Request) -> None:
    """Let *req* pass unless a browser says that another site's page sent it.

    Clients that are no browsers send neither header, and pass.

    :raises falcon.HTTPForbidden: it came from another site.
    """
    site = req.get_header("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        raise _forbidden()
    origin = req.get_header("Origin")
    if origin is not None and not _is_same(origin, req.get_header("Host") or ""):
        raise _forbidden()


def _is_same(origin: str, host: str) -> bool:
    try:
        there, here = urlsplit(origin), urlsplit(f"//{host}")
        default = _PORTS.get(there.scheme)
        addresses = [(part.hostname, part.port or default) for part in (there, here)]
    except ValueError:  # a port that is no number
        return False
    return bool(there.hostname) and addresses[0] == addresses[1]


def _forbidden() -> falcon.HTTPForbidden:
    return falcon.HTTPForbidden(description="a page of another site may not do this")
