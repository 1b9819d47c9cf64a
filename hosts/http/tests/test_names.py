"""A site whose name was made to lead here (DNS rebinding) gets no answer."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from spark_core_http.app import make_app
from spark_core_http.names import Names

from spark_core import origins
from spark_core.errors import SettingsError
from spark_core.settings import Source
from spark_core.spark import compose

pytestmark = pytest.mark.anyio

HTTP: dict[str, Any] = {"host": "Bound.example", "allowed_hosts": ["Spark.example.lan"]}


async def ask(open_client, host: str, http: dict[str, Any] = HTTP) -> Any:
    async with open_client(toml={"http": http}) as client:
        return await client.simulate_get("/openapi.json", host=host, port=80)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9999",
        "localhost.:9999",
        "spark.localhost",
        "127.0.0.1:9999",
        "192.0.2.7",
        "[::1]:9999",
        "[2001:db8::1]",
        "bound.example",
        "spark.example.lan:443",
        "spark.example.lan.",
        "Machine.example.lan",
        "machine",
        "machine.local:9999",
    ],
)
async def test_the_names_of_this_host_pass(open_client, monkeypatch, host: str) -> None:
    monkeypatch.setattr(origins.socket, "gethostname", lambda: "machine.example.lan")
    assert (await ask(open_client, host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9999",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "example.lan",
        "x.spark.example.lan",
        "local",
        "",
        ":9999",
        ".",
        "evil.example@localhost",
        "localhost/evil.example",
        "localhost, evil.example",
        "[evil.example]",
        "[::1",
        "localhost:evil",
    ],
)
async def test_any_other_name_is_refused(open_client, host: str) -> None:
    answer = await ask(open_client, host)
    assert (answer.status_code, answer.json["status"]) == (421, 421)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert repr(host) in answer.json["detail"]
    assert "`allowed_hosts` in the section [http]" in answer.json["detail"]


async def test_every_path_is_guarded_also_one_that_is_none(open_client) -> None:
    async with open_client(toml={"http": HTTP}) as client:
        for path in ("/", "/health", "/ready", "/nowhere"):
            answer = await client.simulate_post(path, host="evil.example")
            assert answer.status_code == 421


async def test_a_star_allows_any_name(open_client) -> None:
    assert (await ask(open_client, "evil.example", {"allowed_hosts": ["*"]})).status_code == 200


async def test_this_very_machine_has_a_name(open_client) -> None:
    assert (await ask(open_client, socket.gethostname(), {})).status_code == 200


def test_without_a_host_it_is_no_browser() -> None:
    assert Names("127.0.0.1", ()).know(None)


async def test_two_hosts_are_none(open_client) -> None:
    async with open_client(toml={"http": HTTP}) as client:
        answer = await client.simulate_get(
            "/health", headers={"Host": "localhost"}, host="evil.example"
        )
    assert answer.status_code == 421


async def test_the_host_of_the_command_line_passes(make_spark) -> None:
    from falcon.testing import ASGIConductor

    async with ASGIConductor(make_app(None, make_spark(toml={"http": {}}), "given.example")) as c:
        answer = await c.simulate_get("/health", host="given.example")
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["http://spark.example", "spark.example:80", "", "a b"])
def test_what_is_no_name_cannot_be_allowed(tmp_path, name: str) -> None:
    toml = {"http": {"allowed_hosts": [name]}}
    with pytest.raises(SettingsError, match=r"\[http\] allowed_hosts.0.*without scheme and port"):
        compose(Source(None, tmp_path, toml, {}, {}))
