"""HTTP to backends: one way to make a client, and one way to ask again.

It imports httpx, so import it where a backend is opened, not in a hook's module.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from .clock import Clock, SystemClock
from .errors import BackendError, SettingsError, TimedOut, Unavailable

__all__ = ["Retries", "open_client", "request_with_retries", "shown"]

#: Statuses that say: not now.
BUSY = frozenset({429, 503})

#: Seconds to wait for a connection, and to hand over a request.
CONNECT_SECONDS = 5.0
WRITE_SECONDS = 60.0

#: Seconds an unused connection is kept: less than servers keep theirs, which is often 5.
KEEP_SECONDS = 4.0

#: Seconds of a ``Retry-After`` that are believed.
LONGEST_ASKED = 3600.0


@dataclass(frozen=True)
class Retries:
    """When to ask again: each pause is about twice as long as the one before.

    ``count`` is how often, after the first time; ``first`` and ``longest`` are seconds. What a
    backend asks for in ``Retry-After`` is heeded up to ``longest``.
    """

    count: int = 4
    first: float = 0.25
    longest: float = 30.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random
    clock: Clock = field(default_factory=SystemClock)

    async def pause(self, attempt: int, asked: str | None) -> None:
        """Wait after the failed *attempt* (from 0); *asked* is its ``Retry-After``.

        Partly random, so that clients that failed together do not come back together.
        """
        backoff = self.first * 2**attempt * (1 + self.random())
        await self.sleep(min(max(backoff, self.seconds(asked)), self.longest))

    def seconds(self, asked: str | None) -> float:
        """A ``Retry-After``, which is seconds or a date, in seconds from now; none is 0."""
        if not asked:
            return 0.0
        if asked.isdecimal():
            return min(float(asked), LONGEST_ASKED)
        try:
            date = parsedate_to_datetime(asked)
        except (ValueError, OverflowError):
            return 0.0
        wait = date.replace(tzinfo=date.tzinfo or UTC) - self.clock.now()
        return min(max(wait.total_seconds(), 0.0), LONGEST_ASKED)


def open_client(
    url: str,
    *,
    verify: bool = True,
    timeout: float = 60.0,
    headers: Mapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """A client whose paths are relative to *url*; close it when done.

    *timeout* is how many seconds the backend may be silent. Names are looked up as IPv4 only:
    waiting for the IPv6 addresses of a local name can take longer than a connection may.
    Certificates are checked against the machine's own authorities. Proxies and credentials
    from the environment are not used.

    :raises SettingsError: *url* is not one of a web server.
    """
    base = _parsed(url)
    transport = httpx.AsyncHTTPTransport(
        verify=_tls(base, verify),
        trust_env=False,
        local_address=None if _is_ipv6(base.host) else "0.0.0.0",
        limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEP_SECONDS),
    )
    return httpx.AsyncClient(
        base_url=base,
        transport=transport,
        headers=headers,
        timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=None),
        trust_env=False,
    )


def shown(url: httpx.URL | str) -> str:
    """*url* as errors may show it: without credentials, query and fragment."""
    return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))


async def request_with_retries(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    *,
    retries: Retries | None = None,
    **options: Any,
) -> httpx.Response:
    """Send a request that may be sent twice, and return its successful answer, read in full.

    *options* are those of :meth:`httpx.AsyncClient.request`. It is sent again on 429 and 503,
    on time-outs, and where no connection came about or one broke.

    :raises TimedOut: the backend was silent for too long, the last time too.
    :raises Unavailable: it cannot be reached or is too busy, the last time too.
    :raises BackendError: it answered with another status than success, or cannot be trusted.
    """
    retries = retries or Retries()
    for attempt in itertools.count():
        try:
            return await _request(client, method, path, **options)
        except _NotNow as failure:
            if attempt >= retries.count:
                failure.error.retry_after += retries.seconds(failure.asked)
                raise failure.error from failure.__cause__
            await retries.pause(attempt, failure.asked)
    raise AssertionError  # unreachable: it counts for ever


class _NotNow(Exception):
    """A request failed in a way that may pass; ``error`` is for when it does not."""

    def __init__(self, error: Unavailable, asked: str | None = None) -> None:
        self.error = error
        self.asked = asked


async def _request(
    client: httpx.AsyncClient, method: str, path: str, **options: Any
) -> httpx.Response:
    """One attempt, with httpx's errors as ours."""
    try:
        response = await client.request(method, path, **options)
    except httpx.RequestError as error:
        raise _translated(error) from error
    url = shown(response.url)
    if response.status_code in BUSY:
        busy = Unavailable(f"{url} is busy (status {response.status_code})")
        raise _NotNow(busy, response.headers.get("Retry-After"))
    if not response.is_success:
        hint = _HINTS.get(response.status_code)
        raise BackendError(f"{url} answered with status {response.status_code}", hint=hint)
    return response


_HINTS = {
    401: "check the API key",
    403: "check the API key",
    404: "check the url: its paths are added to it",
}


def _translated(error: httpx.RequestError) -> Exception:
    url, kind = shown(error.request.url), type(error).__name__
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return _NotNow(TimedOut(f"{url} did not answer in time"))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return BackendError(
            f"the certificate of {url} cannot be verified",
            hint="let this machine trust its authority, or turn verification off",
        )
    if isinstance(error, httpx.TransportError):
        return _NotNow(Unavailable(f"{url} cannot be reached: {kind}"))
    return BackendError(f"{url} sent an answer that cannot be read: {kind}")


def _parsed(url: str) -> httpx.URL:
    """*url*, if it has what a client needs; an error does not show it: it may hold a secret."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query:
        raise SettingsError("a backend's url must be like http://host:port")
    return parsed


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _tls(url: httpx.URL, verify: bool) -> ssl.SSLContext | bool:
    """Reading the machine's authorities takes a while: only for https, only if they count."""
    return ssl.create_default_context() if verify and url.scheme == "https" else False
