"""Who may ask a server of ours: it goes by certain names, and other sites' pages may not use it.

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
from urllib.parse import urlsplit

__all__ = ["HostNames", "is_cross_site"]

_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+?)\.?)(?::\d*)?", re.I)

_PORTS: Final = {"http": 80, "https": 443}

#: How many names are remembered: callers choose what they send.
MOST: Final = 256


class HostNames:
    """The names of a server. *bound* is what it listens at, *allowed* what settings add."""

    def __init__(self, bound: str, allowed: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in (bound, *allowed, *_of_this_machine()))
        self._answers: dict[str | None, bool] = {}  # there are few, and each request asks

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


def is_cross_site(host: str | None, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a browser says, by ``Origin`` or ``Sec-Fetch-Site``, that another site's page asks.

    Clients that are no browsers send neither.
    """
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        return True
    return origin is not None and not _is_same(origin, host or "")


def _is_same(origin: str, host: str) -> bool:
    try:
        there, here = urlsplit(origin), urlsplit(f"//{host}")
        default = _PORTS.get(there.scheme)
        addresses = [(part.hostname, part.port or default) for part in (there, here)]
    except ValueError:  # a port that is no number
        return False
    return bool(there.hostname) and addresses[0] == addresses[1]
