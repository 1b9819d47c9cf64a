"""The names that this host goes by: requests for any other are refused.

See :mod:`spark_core.origins`.
"""

from __future__ import annotations

import falcon
from falcon.asgi import Request, Response

from spark_core.origins import HostNames

__all__ = ["Names"]


class Names(HostNames):
    """Falcon middleware. *bound* is what is listened at, *allowed* what settings add."""

    async def process_request(self, req: Request, resp: Response) -> None:
        """Let *req* pass if it is meant for this host.

        :raises falcon.HTTPError: 421, it is not.
        """
        host = req.get_header("Host")
        if not self.know(host):
            raise falcon.HTTPError(
                421,
                description=f"this host does not go by the name {host!r:.200}; "
                "if it should, add that to `allowed_hosts` in the section [http] of the settings",
            )
