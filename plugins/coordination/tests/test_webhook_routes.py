"""``/api/webhooks``: who is told, and what they did not take."""

from __future__ import annotations

import pytest
from spark_core_coordination.locks import Locks
from spark_core_coordination.outbox import Outbox
from spark_core_coordination.settings import Webhook
from spark_core_coordination.sources import LockSource

from spark_core.state import State

pytestmark = pytest.mark.anyio

HOOK = {
    "name": "bot",
    "url": "https://hooks.example/secret-path",
    "secrets": ["a secret of ours alone"],
    "events": ["lock_acquired", "lock_forced"],
}


@pytest.fixture
async def letters(tmp_path, spark_clock, open_client):
    """The ids of two events that ``bot`` was told in vain, in the state that a client looks at."""
    async with open_client(webhooks=[HOOK]) as client:  # makes the state
        await client.get("/api/webhooks")
    async with State.open(tmp_path / ".spark" / "state.db") as state:
        locks, outbox = Locks(state, spark_clock), Outbox(state, spark_clock)
        await outbox.catch_up(LockSource(locks))
        await locks.acquire("nightly", 60)
        await locks.force()
        await outbox.collect(LockSource(locks), [Webhook.model_validate(HOOK)])
        while delivery := await outbox.next("bot"):
            await outbox.give_up(delivery, "status 500")
        return [letter.id for letter in await outbox.dead()]


async def test_receivers_are_listed_without_their_addresses_and_secrets(open_client, letters):
    async with open_client(webhooks=[HOOK]) as client:
        answer = await client.get("/api/webhooks")
        assert answer.json["receivers"] == [
            {"name": "bot", "events": HOOK["events"], "signed": True, "pending": 0, "dead": 2}
        ]
        dead = await client.get("/api/webhooks/dead")
        assert "secret" not in answer.text + dead.text


async def test_what_was_given_up_is_listed_with_why(open_client, letters):
    async with open_client(webhooks=[HOOK]) as client:
        first, second = (await client.get("/api/webhooks/dead")).json["dead"]
        assert [first["id"], second["id"]] == letters
        assert (first["receiver"], first["kind"]) == ("bot", "lock_acquired")
        assert (first["error"], first["attempts"]) == ("status 500", 1)


async def test_it_is_sent_again_or_forgotten(open_client, letters):
    first, second = letters
    async with open_client(webhooks=[HOOK]) as client:
        dead = "/api/webhooks/dead"
        assert (await client.post(f"{dead}/{first}/retry")).status_code == 202
        assert (await client.delete(f"{dead}/{second}")).status_code == 204
        assert (await client.get(dead)).json == {"dead": []}
        [receiver] = (await client.get("/api/webhooks")).json["receivers"]
        assert (receiver["pending"], receiver["dead"]) == (1, 0)
        for gone in (first, second, "msg_x"):
            assert (await client.post(f"{dead}/{gone}/retry")).status_code == 404
            assert (await client.delete(f"{dead}/{gone}")).status_code == 404
