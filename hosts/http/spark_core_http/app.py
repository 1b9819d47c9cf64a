"""The Falcon app: routes, errors, and the life of what they need."""

from __future__ import annotations

import os
import string
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import falcon
import falcon.asgi
from falcon.asgi import Request, Response

from spark_core import Spark
from spark_core.errors import PluginError, SparkError
from spark_core.settings import Source
from spark_core.spark import compose

from .headers import StandardHeaders
from .lifetime import Lifetime
from .names import Names
from .problems import answer
from .relaying import Relaying
from .routes import Route, make_routes, resources
from .settings import HttpSettings
from .tokens import Gate
from .uploads import Receive, Upload

__all__ = ["App", "make_app"]

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def make_app(
    config: str | os.PathLike[str] | None, spark: Spark | None, host: str | None = None
) -> Any:
    """See :func:`spark_core_http.create_app`. *host* is listened at, whatever settings say."""
    if spark is not None:
        return App(spark, host)
    try:
        return App(compose(Source.read(config)), host)
    except SparkError as error:
        return _refusal(error)


def _refusal(error: SparkError) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An app that tells the server at its start why it cannot be."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise error
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(error)})

    return refuse


class App(falcon.asgi.App[Request, Response]):
    """Everything that *spark* holds, over HTTP.

    :raises PluginError: two of its routes clash, or one has an impossible path.
    """

    def __init__(self, spark: Spark, host: str | None = None) -> None:
        spark.plugins.examine()  # one that cannot be described would spoil /openapi.json
        settings = _settings(spark)
        self._lifetime = Lifetime(spark)
        self._names = Names(host or settings.host, settings.allowed_hosts)
        super().__init__(middleware=[self._names, self._lifetime, StandardHeaders()])
        for kind in (Exception, falcon.HTTPError):  # Falcon brings a handler for each
            self.add_error_handler(kind, answer)
        self._add(make_routes(spark, settings.max_body, Gate(settings.scheduler_api_token)))
        self._relaying = Relaying(spark)

    def _add(self, routes: list[Route]) -> None:
        for path, resource in resources(routes).items():
            try:
                self.add_route(path, resource)
            except ValueError as error:
                owners = " and ".join(r.owner for r in routes if r.path == path)
                raise PluginError(f"the path {path} of {owners} cannot be: {error}") from None

    async def __call__(  # type: ignore[override]  # as in Falcon, whose WSGI app it extends
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request, or take part in the server's start and stop."""
        if scope["type"] == "http":
            relay = self._relaying.find(scope)
            if relay is None and not scope["path"].startswith("/"):
                scope = _in_origin_form(scope)
                relay = self._relaying.find(scope)
            if relay is not None and self._names.know(_host(scope)):
                await self._relaying.serve(relay, scope, receive, send)
            else:
                await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await super().__call__(scope, receive, self._lifetime.plainly(send))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Falcon would fail on what is not ASCII; quoted, it is refused like any wrong value.
        query = quote(scope["query_string"], safe=string.printable)
        upload = Upload(receive)
        await super().__call__({**scope, "query_string": query.encode()}, upload.receive, send)
        await upload.drain()


def _in_origin_form(scope: Scope) -> Scope:
    """*scope* of a request whose first line names the host, too, as proxies are asked.

    That counts then, and not what ``Host`` says (RFC 9112, 3.2.2).
    """
    _, _, rest = scope["path"].partition("://")
    host, slash, path = rest.partition("/")
    raw = b"/" + scope["raw_path"].partition(b"://")[2].partition(b"/")[2]
    headers = [header for header in scope["headers"] if header[0] != b"host"]
    headers.append((b"host", host.encode()))
    return {**scope, "path": slash + path or "/", "raw_path": raw, "headers": headers}


def _host(scope: Scope) -> str | None:
    """The ``Host`` of a request that Falcon has not seen; several are joined, and no name."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return b",".join(hosts).decode("latin-1") if hosts else None


def _settings(spark: Spark) -> HttpSettings:
    """The settings of *spark*; the defaults where it was composed without this host."""
    found = spark.settings.models().get(HttpSettings)
    return found if isinstance(found, HttpSettings) else HttpSettings()
