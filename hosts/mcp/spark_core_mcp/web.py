"""MCP over Streamable HTTP, with a health route."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from spark_core.origins import HostNames, is_cross_site

from .settings import McpSettings

__all__ = ["make_app", "serve"]

#: How long a stop waits for running calls, in seconds; streams that are open end then.
GRACE_SECONDS = 2


def make_app(server: Server[Any], settings: McpSettings) -> ASGIApp:
    """An ASGI app: ``/mcp`` and ``/health``."""
    app = server.streamable_http_app(
        max_request_body_size=settings.max_message,
        max_sessions=settings.max_sessions,
        # Checked by the guard, which knows this machine's names, too, and guards every route.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        custom_starlette_routes=[Route("/health", _health)],
    )
    return Guard(app, HostNames(settings.host, settings.allowed_hosts))


async def _health(request: Request) -> JSONResponse:
    """That this process answers; nothing else is looked at."""
    return JSONResponse({"status": "ok"})


class Guard:
    """Lets pass what is meant for this host and comes from no other site's page."""

    def __init__(self, app: ASGIApp, names: HostNames) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or take part in the server's start and stop."""
        app = self._app
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            app = JSONResponse({"error": refusal[1]}, status_code=refusal[0])
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        host = _header(scope, b"host")
        if not self._names.know(host):
            name = f"this host does not go by the name {host!r:.200}"
            return 421, f"{name}; if it should, add that to `allowed_hosts` in the section [mcp]"
        if is_cross_site(host, _header(scope, b"origin"), _header(scope, b"sec-fetch-site")):
            return 403, "a page of another site may not do this"
        return None


def _header(scope: Scope, name: bytes) -> str | None:
    """The header, several joined."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1") if values else None


async def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve *app* until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    await _Uvicorn(config).serve(sockets=[listener])


class _Uvicorn(uvicorn.Server):
    """Ends at a signal, and does not send it to itself once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While the block runs, a signal is a wish to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
