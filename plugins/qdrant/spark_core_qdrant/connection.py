"""The connection to a Qdrant server: how it is made, and what its failures are called here."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from json import JSONDecodeError
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

# Where fastembed is installed, qdrant_client imports it, and that onnxruntime, which tells its
# makers that it runs unless it is told not to before it is imported. Nothing leaves this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from spark_core.errors import (
    BackendError,
    SettingsError,
    SparkError,
    StorageFull,
    TimedOut,
    Unavailable,
)

from .settings import QdrantSettings

__all__ = [
    "FAILURES",
    "QUICK_SECONDS",
    "AsyncQdrantClient",
    "connect",
    "models",
    "shown_url",
    "translated",
]

#: How long to wait for a connection, and for answers that take no work: what collections and
#: aliases there are. Each operation asks for those first, so a server that is not there, or
#: hangs, is soon known not to be.
QUICK_SECONDS = 5.0

P = ParamSpec("P")
T = TypeVar("T")

#: What the client raises when something is wrong with the server or its answers: it asserts
#: that an answer has a result.
FAILURES = (
    ResponseHandlingException,
    UnexpectedResponse,
    QdrantException,
    httpx.HTTPError,
    JSONDecodeError,
    UnicodeDecodeError,
    AssertionError,
)


def connect(url: str, settings: QdrantSettings) -> AsyncQdrantClient:
    """A client of the server at *url*, which is not asked anything yet.

    :raises SettingsError: *url* is none.
    """
    # As a header: given as such, the client would speak TLS to a URL without a scheme, and
    # warn of one without TLS.
    key = {"api-key": settings.api_key.get_secret_value()} if settings.api_key else None
    try:
        if not urlsplit(url).hostname:
            raise ValueError("no host")
        client = AsyncQdrantClient(
            url=url,
            headers=key,
            timeout=math.ceil(settings.timeout_s),
            check_compatibility=False,  # asks the server, and blocks while it does
            trust_env=False,
        )
    except ValueError:  # whose text may hold a password
        raise SettingsError(
            f"[plugins.qdrant] url = {shown_url(url)!r} is not a server's URL",
            hint="such as http://spark2:6333",
        ) from None
    client.http.client.add_middleware(_hastened)
    return client


async def _hastened(
    request: httpx.Request, send: Callable[[httpx.Request], Awaitable[httpx.Response]]
) -> httpx.Response:
    """The client knows one time limit for all; what takes no work gets :data:`QUICK_SECONDS`."""
    limits: dict[str, float] = request.extensions["timeout"]
    for what in ("connect", "read") if request.method == "GET" else ("connect",):
        limits[what] = min(limits[what], QUICK_SECONDS)
    return await send(request)


def shown_url(url: str) -> str:
    """*url* without a name and password, for messages."""
    scheme, _, rest = url.rpartition("://")
    host = rest.rpartition("@")[2].partition("?")[0]
    return f"{scheme}://{host}" if scheme else host


class HasUrl(Protocol):
    """Whose methods talk to a server."""

    @property
    def url(self) -> str:
        """The server's, to be shown."""
        ...


E = TypeVar("E", bound=HasUrl)


def translated(
    method: Callable[Concatenate[E, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[E, P], Coroutine[Any, Any, T]]:
    """What the client raises becomes an error of ours that names the server."""

    async def said_again(engine: E, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(engine, *args, **kwargs)
        except UnexpectedResponse as error:
            if error.status_code != 404:
                raise
        # Somebody has replaced the collection since its alias was read: read it again.
        return await method(engine, *args, **kwargs)

    @wraps(method)
    async def call(engine: E, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await said_again(engine, *args, **kwargs)
        except FAILURES as error:
            raise _translate(error, engine.url) from error

    return call


def _translate(error: Exception, url: str) -> SparkError:
    if isinstance(error, UnexpectedResponse):
        return _by_status(error, url)
    if isinstance(error, ResourceExhaustedResponse):
        busy = f"the Qdrant server at {url} is busy"
        return Unavailable(busy, retry_after=float(error.retry_after_s))
    source = error.source if isinstance(error, ResponseHandlingException) else error
    if isinstance(source, httpx.TimeoutException) and not isinstance(source, httpx.ConnectTimeout):
        return TimedOut(
            f"the Qdrant server at {url} did not answer in time",
            hint="it may be overloaded; [plugins.qdrant] timeout_s is how long it may work",
        )
    if isinstance(source, httpx.TransportError):
        return Unavailable(
            f"the Qdrant server at {url} cannot be reached",
            hint="start it, or correct [plugins.qdrant] url or QDRANT_URL",
        )
    return BackendError(f"the Qdrant server at {url} gave an answer that cannot be read")


def _by_status(error: UnexpectedResponse, url: str) -> SparkError:
    status = error.status_code or 0
    if status in (429, 502, 503, 504):
        return Unavailable(f"the Qdrant server at {url} is busy")
    if status in (401, 403):
        return BackendError(
            f"the Qdrant server at {url} wants another api_key", hint="QDRANT_API_KEY"
        )
    if status == 507 or b"No space left" in (error.content or b""):
        return StorageFull(f"the Qdrant server at {url} has no room left")
    return BackendError(f"the Qdrant server at {url} answered {status}")
