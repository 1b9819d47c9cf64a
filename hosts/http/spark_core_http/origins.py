"""The same-origin guard: other sites' pages must not make a browser change things here."""

from __future__ import annotations

import falcon
from falcon.asgi import Request

from spark_core.origins import is_cross_site

__all__ = ["refuse_cross_site"]


def refuse_cross_site(req: Request) -> None:
    """Let *req* pass unless a browser says that another site's page sent it.

    :raises falcon.HTTPForbidden: it came from another site.
    """
    headers = (req.get_header(name) for name in ("Host", "Origin", "Sec-Fetch-Site"))
    if is_cross_site(*headers):
        raise falcon.HTTPForbidden(description="a page of another site may not do this")
