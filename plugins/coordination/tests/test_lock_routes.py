"""``/api/swap/lock``, and a swap, as programs see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel, SecretStr

from spark_core import Effect, Operation, Resource
from spark_core.clock import Clock
from spark_core.contracts.gpu import GpuRelease
from spark_core.gateway import plugin as gateway_plugin
from spark_core.plugins import Plugin, Plugins
from spark_core.references import resolved
from spark_core.state import State
from spark_core.swaps import plugin as swaps_plugin
from spark_core.testing.plugins import plugin

pytestmark = pytest.mark.anyio

LOCK = "/api/swap/lock"
ASKED = {"holder": "nightly", "ttl_s": 600, "reason": "training"}


def shown(token: str) -> dict[str, str]:
    return {"X-Spark-Lock-Token": token}


async def reserved(client) -> str:
    """The token of a reservation that was just made."""
    return (await client.post(LOCK, json=ASKED)).json["token"]


async def test_item_2_reserving_gives_a_token_and_when_it_ends(open_client):
    async with open_client() as client:
        answer = await client.post(LOCK, json=ASKED)
        assert answer.status_code == 201
        assert answer.json.keys() == {"token", "expires_at"}
        assert answer.json["expires_at"] == "2030-01-01T00:10:00Z"


async def test_item_2_a_second_holder_is_refused(open_client):
    async with open_client() as client:
        await reserved(client)
        answer = await client.post(LOCK, json={**ASKED, "holder": "other"})
        assert answer.status_code == 409
        assert "nightly until" in answer.json["detail"]


async def test_item_2_looking_shows_everything_but_the_token(open_client):
    async with open_client() as client:
        answer = await client.get(LOCK)
        assert (answer.status_code, answer.json["held"]) == (200, False)
        token = await reserved(client)
        answer = await client.get(LOCK)
        assert answer.status_code == 200
        assert answer.json["held"] is True
        assert (answer.json["holder"], answer.json["reason"]) == ("nightly", "training")
        assert answer.json["expires_at"] == "2030-01-01T00:10:00Z"
        assert token not in answer.text


async def test_item_2_the_right_token_frees_it(open_client):
    async with open_client() as client:
        token = await reserved(client)
        answer = await client.delete(LOCK, headers=shown(token))
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await client.delete(LOCK, headers=shown(token))).status_code == 404


async def test_item_2_nothing_reserved_is_not_found(open_client):
    async with open_client() as client:
        for headers in ({}, shown("x")):
            assert (await client.delete(LOCK, headers=headers)).status_code == 404
            assert (await client.put(LOCK, json={"ttl_s": 5}, headers=headers)).status_code == 404
        assert (await client.delete(LOCK + "?force=true")).status_code == 404


@pytest.mark.parametrize(
    "headers", [{}, shown(""), shown("wrong"), shown("\xfc\xe9"), shown("\xff")]
)
async def test_item_2_a_missing_wrong_or_odd_token_is_forbidden(open_client, headers):
    async with open_client() as client:
        await reserved(client)
        assert (await client.delete(LOCK, headers=headers)).status_code == 403
        assert (await client.put(LOCK, json={"ttl_s": 60}, headers=headers)).status_code == 403


@pytest.mark.parametrize("body", [b"", b"{", b'{"ttl_s": 0}', b'{"tll_s": 1}', b'{"ttl_s": 1e9}'])
async def test_a_wrong_token_is_forbidden_whatever_else_is_wrong(open_client, body):
    async with open_client() as client:
        token = await reserved(client)
        assert (await client.put(LOCK, body=body, headers=shown("wrong"))).status_code == 403
        assert (await client.put(LOCK, body=body, headers=shown(token))).status_code in (400, 422)


@pytest.mark.parametrize("ttl_s", [0, -1, 3600.5, 1e300, "60", None, True])
async def test_item_2_a_time_out_of_bounds_is_refused(open_client, ttl_s):
    async with open_client(lock_max_ttl_s=3600) as client:
        answer = await client.post(LOCK, json={**ASKED, "ttl_s": ttl_s})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == "/ttl_s"
        token = (await client.post(LOCK, json={**ASKED, "ttl_s": 3600})).json["token"]
        answer = await client.put(LOCK, json={"ttl_s": ttl_s}, headers=shown(token))
        assert answer.status_code == 422


@pytest.mark.parametrize("holder", ["", "a\nb", "a\x00b", "x" * 201])
async def test_a_holder_is_named_in_one_line(open_client, holder):
    async with open_client() as client:
        assert (await client.post(LOCK, json={**ASKED, "holder": holder})).status_code == 422


async def test_renewing_answers_with_what_holds_now(open_client, spark_clock):
    async with open_client() as client:
        token = await reserved(client)
        spark_clock.advance(300)
        answer = await client.put(LOCK, json={"ttl_s": 600}, headers=shown(token))
        assert (answer.status_code, answer.json["expires_at"]) == (200, "2030-01-01T00:15:00Z")
        assert token not in answer.text


async def test_item_2_force_frees_it_and_is_audited(open_client):
    async with open_client() as client:
        token = await reserved(client)
        assert (await client.delete(LOCK + "?force=true")).status_code == 204
        assert (await client.get(LOCK)).json["held"] is False
        assert (await client.delete(LOCK, headers=shown(token))).status_code == 404
        audit = (await client.get("/api/audit?action=swap.lock.force")).json["entries"]
        assert [(e["detail"]["holder"], e["actor"][:4]) for e in audit] == [("nightly", "http")]
        assert token not in (await client.get("/api/audit")).text


# -------------------------------------------------------------------------------------- a swap


class Shown(BaseModel):
    token: SecretStr | None = None


class Swap(Shown):
    model: str


async def asks_the_guards(request: Shown, plugins: Plugins, state: State, clock: Clock) -> None:
    """As a swap does, before it looks at anything else."""
    token = request.token.get_secret_value() if request.token else None
    for guard in plugins.swap_guards():
        check = resolved(guard.check)
        await state.write(lambda c, check=check: check(c, token, clock.now()))


async def swap(request: Swap) -> Swap:
    """Swap."""
    return Swap(model=request.model)


SWAP = Operation(
    "swap",
    swap,
    Effect.WRITE,
    headers={"x-spark-lock-token": "token"},
    precondition=asks_the_guards,
)


@pytest.mark.parametrize("body", [b'{"model": "big"}', b'{"model": 7}', b"", b"{"])
async def test_item_1_a_swap_is_locked_whatever_else_is_wrong_with_it(open_client, body):
    async with open_client(plugin("x", spark_register_operations=lambda: [SWAP])) as client:
        await reserved(client)
        answer = await client.post("/api/swap", body=body)
        assert answer.status_code == 423
        assert answer.json["holder"] == "nightly"
        assert answer.json["expires_at"] == "2030-01-01T00:10:00+00:00"


async def test_item_1_the_token_lets_a_swap_through_and_a_wrong_one_does_not(open_client):
    async with open_client(plugin("x", spark_register_operations=lambda: [SWAP])) as client:
        body, token = {"model": "big"}, await reserved(client)
        assert (await client.post("/api/swap", json=body, headers=shown(token))).status_code == 200
        for wrong in ("wrong", "\xfc"):
            answer = await client.post("/api/swap", json=body, headers=shown(wrong))
            assert answer.status_code == 403


# --------------------------------------------------------------------------------- the GPU itself


class Nothing:
    async def release(self, reason: str) -> str:
        return "1"

    async def restore(self) -> str | None:
        return None

    async def is_free(self) -> bool:
        return True


@asynccontextmanager
async def open_nothing() -> AsyncIterator[Nothing]:
    yield Nothing()


async def test_release_gpu_needs_what_can_take_the_model_off(open_client):
    async with open_client() as client:
        answer = await client.post(LOCK, json={**ASKED, "release_gpu": True})
        assert answer.status_code == 503
        assert "release_gpu" in answer.json["hint"]
        assert (await client.get(LOCK)).json["held"] is False


async def test_release_gpu_needs_a_model_host(open_client):
    """What swaps models is installed, but there is no machine on which it could."""
    gateway = Plugin("gateway", "spark-core", "0", module=gateway_plugin)
    swaps = Plugin("swaps", "spark-core", "0", module=swaps_plugin)
    async with open_client(gateway, swaps) as client:
        answer = await client.post(LOCK, json={**ASKED, "release_gpu": True})
        assert answer.status_code == 503
        assert (await client.get(LOCK)).json["held"] is False


async def test_release_gpu_is_shown_with_where_the_gpu_is(open_client):
    offers = plugin("x", spark_register_resources=lambda: [Resource(GpuRelease, open_nothing)])
    async with open_client(offers) as client:
        assert (await client.post(LOCK, json={**ASKED, "release_gpu": True})).status_code == 201
        answer = await client.get(LOCK)
        assert (answer.json["release_gpu"], answer.json["gpu"]) == (True, "home")
