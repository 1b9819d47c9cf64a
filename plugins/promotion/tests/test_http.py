"""The same over HTTP."""

from __future__ import annotations

import pytest
from falcon.testing import ASGIConductor
from spark_core_http import create_app

from .conftest import digest

pytestmark = pytest.mark.anyio

HOST = "localhost"


async def test_promoting_looking_and_taking_back_over_http(office):
    """Each has its route; misuse, a reservation and a missing symbol have their status."""
    async with office.open() as spark, ASGIConductor(create_app(spark=spark)) as client:

        async def ask(path: str = "", **body):
            return await client.simulate_post(f"/api/promote{path}", json=body, host=HOST)

        assert (await client.simulate_get("/api/promote/engine", host=HOST)).json[
            "promotion"
        ] is None
        for wrong in (
            {"name": "engine", "start_first": True},
            {"name": "engine", "health_start_period": "soon"},
            {"name": "engine", "no_restart": True, "verify": True},
            {"name": "nothing"},
        ):
            answer = await ask(**wrong)
            assert 400 <= answer.status_code < 500, answer.text
        lock = await spark.call("swap.lock", {"holder": "ada", "ttl_s": 600})
        assert (await ask(name="engine")).status_code == 423
        token = {"x-spark-lock-token": lock.token}
        freed = await client.simulate_delete("/api/swap/lock", headers=token, host=HOST)
        assert freed.status_code == 204
        office.ship("without")
        refused = await ask(name="engine")
        assert refused.status_code == 502, refused.text
        assert "does not define" in refused.text
        office.ship("new")
        done = await ask(name="engine", no_restart=True)
        assert done.status_code == 200, done.text
        assert digest(office.destination) == digest(office.binary)
        shown = (await client.simulate_get("/api/promote/engine", host=HOST)).json["promotion"]
        assert shown["outcome"] == "ready"
        back = await ask("/engine/rollback")
        assert back.status_code == 200, back.text
        assert (await ask("/engine/rollback")).status_code == 409
    assert office.is_old()
