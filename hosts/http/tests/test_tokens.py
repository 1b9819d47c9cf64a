"""The scheduler's token: which routes take it, and how it is compared."""

from __future__ import annotations

import logging
import os

import pytest
from pydantic import BaseModel

from spark_core import Caller, Effect, Operation
from spark_core.state import AuditLog

pytestmark = pytest.mark.anyio

TOKEN = "0123456789abcdef0123456789abcdef"


class Told(BaseModel):
    caller: str


async def tell(caller: Caller) -> Told:
    """Say who asks."""
    return Told(caller=caller.name)


RUN = Operation("jobs.run", tell, Effect.WRITE, path="/api/admin/run")
DETAILED = Operation("health.detailed", tell, Effect.READ, "GET", "/api/health/detailed")
OTHERS = (
    Operation("other", tell, Effect.READ, "GET", "/api/administrators"),
    Operation("public", tell, Effect.READ, "GET", "/api/health"),
)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def guarded(open_client):
    """A client of a host that has the token given, as settings have it."""

    def client(token: str | None, **more):
        toml = {} if token is None else {"http": {"scheduler_api_token": token}}
        return open_client(RUN, DETAILED, *OTHERS, toml=toml, **more)

    return client


async def test_a_guarded_route_takes_the_token_and_names_the_scheduler(guarded):
    async with guarded(TOKEN) as client:
        answer = await client.post("/api/admin/run", headers=bearer(TOKEN))
        assert (answer.status_code, answer.json["caller"]) == (200, "scheduler@system.local")
        assert (await client.get("/api/health/detailed", headers=bearer(TOKEN))).status_code == 200


async def test_item_9_scheduler_actions_are_audited_as_scheduler_system_local(make_spark):
    from falcon.testing import ASGIConductor
    from spark_core_http import create_app

    spark = make_spark(RUN, toml={"http": {"scheduler_api_token": TOKEN}})
    async with ASGIConductor(create_app(spark=spark)) as client:
        await client.post("/api/admin/run", headers=bearer(TOKEN))
        [entry] = await (await spark.resolver.get(AuditLog)).entries()
        assert (entry.actor, entry.action) == ("scheduler@system.local", "jobs.run")


async def test_a_guarded_route_without_a_token_is_401_and_with_another_403(guarded):
    async with guarded(TOKEN) as client:
        answer = await client.post("/api/admin/run")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        basic = {"Authorization": f"Basic {TOKEN}"}
        assert (await client.post("/api/admin/run", headers=basic)).status_code == 401
        assert (await client.post("/api/admin/run", headers=bearer("x" * 32))).status_code == 403
        assert (await client.get("/api/health/detailed")).status_code == 401
        assert (await client.head("/api/health/detailed")).status_code == 401


async def test_who_may_not_ask_is_told_nothing_of_what_is_wrong_with_the_request(guarded):
    async with guarded(TOKEN) as client:
        assert (await client.post("/api/admin/run", body=b"{")).status_code == 401


async def test_token_path_disabled_when_env_unset(guarded):
    """Everybody may ask then, and a bearer token makes nobody the scheduler."""
    async with guarded(None) as client:
        answer = await client.post("/api/admin/run", headers=bearer(TOKEN))
        assert (answer.status_code, answer.json["caller"]) == (200, "http 127.0.0.1")


@pytest.mark.parametrize("blank", ["", "  \n"])
async def test_a_blank_token_is_none(guarded, blank):
    async with guarded(blank) as client:
        assert (await client.post("/api/admin/run")).status_code == 200


async def test_token_path_disabled_when_env_too_short(guarded):
    """Nobody is let in by it, not even who shows it, and the routes are not open either."""
    async with guarded(TOKEN[:-1]) as client:
        for headers in (bearer(TOKEN[:-1]), bearer(TOKEN), {}):
            answer = await client.post("/api/admin/run", headers=headers)
            assert answer.status_code == 403
            assert "shorter than 32" in answer.json["detail"]
            assert TOKEN[:-1] not in answer.text


async def test_token_matches_only_exact_value(guarded):
    async with guarded(TOKEN) as client:
        for other in (TOKEN[:-1], TOKEN + "0", TOKEN.upper(), f"{TOKEN} {TOKEN}", "", "*"):
            answer = await client.post("/api/admin/run", headers=bearer(other))
            assert answer.status_code == 403, other


async def test_e16_a_token_that_is_not_ascii_is_compared_and_no_error(guarded):
    """As bytes: what is not ASCII makes `compare_digest` fail with a TypeError as text."""
    async with guarded(TOKEN) as client:
        answer = await client.post("/api/admin/run", headers=bearer("\xfc" * 32))
        assert answer.status_code == 403
    token = "žluťoučký kůň úpěl ďábelské ódy!"
    async with guarded(token) as client:
        sent = bearer(token.encode().decode("latin-1"))  # its bytes as UTF-8, as programs send it
        assert (await client.post("/api/admin/run", headers=sent)).status_code == 200


async def test_e16_a_token_may_be_any_bytes(guarded):
    """As the environment of a process may have it, where they are no UTF-8."""
    async with guarded(os.fsdecode(b"\xff" * 32)) as client:
        for shown, status in (("\xff" * 32, 200), ("\xfe" * 32, 403)):
            answer = await client.post("/api/admin/run", headers=bearer(shown))
            assert answer.status_code == status


async def test_e16_both_sides_strip_the_token(guarded):
    async with guarded(f" {TOKEN}\n") as client:
        answer = await client.post("/api/admin/run", headers=bearer(f" {TOKEN} "))
        assert answer.status_code == 200


async def test_other_routes_take_no_token(guarded):
    async with guarded(TOKEN) as client:
        for path in ("/api/administrators", "/api/health", "/health"):
            assert (await client.get(path)).status_code == 200


async def test_item_4_token_unset_gives_one_warning(guarded, caplog):
    with caplog.at_level(logging.WARNING, "spark_core_http.tokens"):
        async with guarded(None) as client:
            for _ in range(3):
                await client.post("/api/admin/run")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        async with guarded(TOKEN) as client:
            await client.post("/api/admin/run")
        assert len(caplog.records) == 1
