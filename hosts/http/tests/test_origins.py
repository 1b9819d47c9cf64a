"""Other sites' pages cannot make a browser change things here."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from spark_core import Effect, Operation
from spark_core.operations import Empty

pytestmark = pytest.mark.anyio


class Done(BaseModel):
    done: bool = True


async def do(request: Empty) -> Done:
    """Do something."""
    return Done()


SPARK = {"http": {"allowed_hosts": ["spark.example"]}}
OPERATIONS = [Operation(effect.value, do, effect) for effect in Effect]


@pytest.mark.parametrize("effect", ["write", "operate"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://other.example"},
        {"Origin": "http://other.example"},
        {"Origin": "http://spark.example:8080"},
        {"Origin": "https://spark.example"},  # its port is 443, not 9999
        {"Origin": "http://spark.example:port"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
async def test_items_21_a_cross_site_request_is_refused(open_client, effect: str, headers) -> None:
    async with open_client(*OPERATIONS, toml=SPARK) as client:
        answer = await client.simulate_post(
            f"/api/{effect}", headers=headers, host="spark.example", port=9999
        )
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("spark.example:9999", {}),
        ("spark.example:9999", {"Sec-Fetch-Site": "none"}),
        ("spark.example:9999", {"Origin": "http://spark.example:9999"}),
        ("SPARK.example:9999", {"Origin": "http://spark.example:9999"}),
        ("spark.example:80", {"Origin": "http://spark.example:80"}),
        ("spark.example:80", {"Origin": "https://spark.example"}),  # behind a proxy that does TLS
        ("[::1]:9999", {"Origin": "http://[::1]:9999", "Sec-Fetch-Site": "same-origin"}),
    ],
)
async def test_items_21_the_same_origin_and_no_browser_pass(
    open_client, host: str, headers
) -> None:
    name, _, port = host.rpartition(":")
    async with open_client(*OPERATIONS, toml=SPARK) as client:
        answer = await client.simulate_post(
            "/api/write", headers=headers, host=name, port=int(port)
        )
    assert answer.status_code == 200


async def test_what_only_reads_may_be_asked_from_anywhere(open_client) -> None:
    async with open_client(*OPERATIONS) as client:
        answer = await client.simulate_post("/api/read", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200


async def test_a_refused_request_leaves_no_audit_entry(open_client) -> None:
    async with open_client(*OPERATIONS) as client:
        await client.simulate_post("/api/write", headers={"Origin": "null"})
        await client.simulate_post("/api/write", remote_addr="192.0.2.7")
        audit = await client.simulate_get("/api/audit")
    assert [entry["actor"] for entry in audit.json["entries"]] == ["http 192.0.2.7"]
