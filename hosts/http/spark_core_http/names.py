"""The names that this host goes by: requests for any other are refused.

The owner of a site can let its name lead to this machine (DNS rebinding). To a browser the
site's page then asks its own site, so that ``Origin`` and ``Sec-Fetch-Site`` are in order, and
it may even read the answers. Only ``Host`` tells. What no stranger can own is safe: an address,
``localhost``, and the names of this machine.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Final

import falcon
from falcon.asgi import Request, Response

__all__ = ["Names"]

_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+?)\.?)(?::\d*)?", re.I)


#: How many names are remembered: callers choose what they send.
MOST: Final = 256


class Names:
    """Falcon middleware. *bound* is what is listened at, *allowed* what settings add."""

    def __init__(self, bound: str, allowed: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in (bound, *allowed, *_of_this_machine()))
        self._answers: dict[str | None, bool] = {}  # there are few, and each request asks

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

    def know(self, host: str | None) -> bool:
        """Whether a request with this ``Host`` is meant for this host; without, it is no browser's.

        Of several, joined by commas, none is a name.
        """
        if (answer := self._answers.get(host)) is None:
            if len(self._answers) >= MOST:
                self._answers.clear()
            answer = self._answers[host] = self._know(host)
        return answer

    def _know(self, host: str | None) -> bool:
        if host is None or "*" in self._names:
            return True
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = (found["v6"] or found["name"]).lower()
        return name in self._names or name.endswith(".localhost") or _is_address(name)


def _of_this_machine() -> Iterator[str]:
    yield "localhost"
    for name in {whole := socket.gethostname(), whole.partition(".")[0]}:
        yield from (name, f"{name}.local")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
