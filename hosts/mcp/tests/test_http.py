"""``spark mcp --http``: Streamable HTTP, watched by a supervisor, guarded against other sites."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .conftest import Home, Server, over_http
from .test_stdio import HELLO, call

ACCEPT = {"Accept": "application/json, text/event-stream"}

Serve = Callable[..., Server]


def post(server: Server, json: Any, **headers: str) -> httpx.Response:
    return httpx.post(server.url, json=json, headers=ACCEPT | headers, timeout=60)


def test_a_supervisor_can_watch_it(server: Server) -> None:
    assert httpx.get(f"{server.root}/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost:5", "Origin": "http://localhost:5"}, 200),
    ],
)
def test_other_sites_are_refused(server: Server, headers: dict[str, str], status: int) -> None:
    """On every route, as on the HTTP host: a site may let its name lead here."""
    assert httpx.get(f"{server.root}/health", headers=headers).status_code == status
    assert post(server, HELLO, **headers).status_code == status


def test_settings_add_names(serve: Serve) -> None:
    server = serve('[mcp]\nallowed_hosts = ["spark.example.lan"]\n')
    assert post(server, HELLO, Host="spark.example.lan").status_code == 200


def test_a_body_may_be_too_large(serve: Serve) -> None:
    server = serve("[mcp]\nmax_message = 5000\n")
    assert post(server, call(1, "measure", text="x" * 6000)).status_code == 413
    assert post(server, HELLO).status_code == 200


@pytest.mark.parametrize("body", [b"no json", b"[]", b"{}", b'{"jsonrpc": "2.0"}', b"\xff"])
def test_a_malformed_body_is_an_error(server: Server, body: bytes) -> None:
    """And the server lives on."""
    headers = ACCEPT | {"Content-Type": "application/json"}
    answer = httpx.post(server.url, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in (-32700, -32602, -32600)
    assert post(server, HELLO).status_code == 200


def test_an_unknown_session_is_refused(server: Server) -> None:
    answer = post(server, call(1, "measure"), **{"mcp-session-id": "nobody"})
    assert answer.status_code == 404


@pytest.mark.anyio
async def test_sessions_are_counted(serve: Serve) -> None:
    """Too many are refused; those that are there go on."""
    server = serve("[mcp]\nmax_sessions = 1\n")
    async with over_http(server.url) as session:
        assert post(server, HELLO).status_code == 503
        assert not (await session.call_tool("measure", {})).is_error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(serve: Serve, number: int) -> None:
    server = serve()
    assert post(server, HELLO).status_code == 200
    server.process.send_signal(number)
    _, err = server.process.communicate(timeout=60)
    assert server.process.returncode == 0
    assert b"Traceback" not in err


def test_a_port_that_is_taken_is_told(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = home.run("mcp", "--http", "--port", port)
    assert done.returncode == 1
    assert b"Address already in use\nhint: --port takes another" in done.stderr


@pytest.mark.anyio
async def test_it_ends_although_agents_are_connected(serve: Serve) -> None:
    """Their streams end with it."""
    server = serve()
    async with over_http(server.url) as session:
        await session.call_tool("measure", {})
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert server.process.stderr is not None
    assert b"Traceback" not in server.process.stderr.read()
