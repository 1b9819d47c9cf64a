"""``/api/schedule``: what programs plan, and what stands in its way."""

from __future__ import annotations

import pytest
from spark_core_coordination import plans as plans_module
from spark_core_coordination.plans import Plans

from spark_core.errors import Conflict
from spark_core.state import State
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

PLANS = "/api/schedule"
NIGHTLY = {"owner": "trainer", "name": "nightly", "when": "daily 03:00", "model": "big"}


async def conflicts(client) -> dict[str, list[tuple[str, str, str]]]:
    """What each plan meets, by its name."""
    plans = (await client.get(PLANS)).json["plans"]
    return {
        plan["name"]: [(c["kind"], f"{c['owner']}/{c['name']}", c["at"]) for c in plan["conflicts"]]
        for plan in plans
    }


async def test_item_5_a_plan_is_listed_with_its_next_time(open_client):
    async with open_client() as client:
        answer = await client.post(PLANS, json=NIGHTLY)
        assert answer.status_code == 200
        [plan] = (await client.get(PLANS)).json["plans"]
        assert plan == answer.json
        assert plan.items() >= NIGHTLY.items()
        assert plan["next_at"] == "2030-01-01T03:00:00Z"


async def test_item_5_a_plan_takes_the_place_of_its_owners_plan_of_that_name(open_client):
    async with open_client() as client:
        for plan in ({}, {"when": "every 2h"}, {"owner": "other"}):
            await client.post(PLANS, json={**NIGHTLY, **plan})
        plans = (await client.get(PLANS)).json["plans"]
        assert [(p["owner"], p["when"]) for p in plans] == [
            ("other", "daily 03:00"),
            ("trainer", "every 2h"),
        ]


async def test_item_5_a_plan_is_forgotten_and_an_unknown_one_not_found(open_client):
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY)
        named = "?owner=trainer&name=nightly"
        assert (await client.delete(PLANS + "?owner=other&name=nightly")).status_code == 404
        assert (await client.delete(PLANS + named)).status_code == 204
        assert (await client.delete(PLANS + named)).status_code == 404
        assert (await client.get(PLANS)).json == {"plans": []}


@pytest.mark.parametrize(
    ("field", "value"),
    [("when", "now and then"), ("when", "daily 3:00"), ("when", ""), ("owner", ""), ("name", "\n"),
     ("model", ""), ("duration_s", 0), ("duration_s", 1e9), ("when", None)],
)  # fmt: skip
async def test_item_5_what_cannot_be_planned_is_refused(open_client, field, value):
    async with open_client() as client:
        answer = await client.post(PLANS, json={**NIGHTLY, field: value})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == f"/{field}"


async def test_item_5_nothing_is_ever_executed(open_client, spark_clock):
    """It only stands there, however late it is."""
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY | {"when": "2030-01-01T00:01:00"})
        spark_clock.advance(3600)
        [plan] = (await client.get(PLANS)).json["plans"]
        assert (plan["when"], plan["next_at"]) == ("2030-01-01T00:01:00", None)


# ---------------------------------------------------------------------------------- conflicts


async def test_plans_that_want_different_models_at_one_time_meet(open_client):
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY)
        answer = await client.post(
            PLANS, json={"owner": "bot", "name": "news", "when": "daily 03:59", "model": "small"}
        )
        assert [c["name"] for c in answer.json["conflicts"]] == ["nightly"]
        at = "2030-01-01T03:59:00Z"
        assert await conflicts(client) == {
            "news": [("plan", "trainer/nightly", at)],
            "nightly": [("plan", "bot/news", at)],
        }


@pytest.mark.parametrize(
    "other",
    [
        {"when": "daily 04:00", "model": "small"},  # it begins when the other ends
        {"when": "daily 03:30", "model": "big"},
        {"when": "daily 03:30"},  # it takes the model that is there
        {"when": "2029-12-31T03:30", "model": "small"},
    ],
)
async def test_plans_that_do_not_disturb_each_other_do_not_meet(open_client, other):
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY)
        await client.post(PLANS, json={"owner": "bot", "name": "news", **other})
        assert await conflicts(client) == {"news": [], "nightly": []}


async def test_what_happens_once_is_compared_however_far_away_it_is(open_client):
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY)
        once = {"when": "2031-06-01T02:30", "model": "small", "duration_s": 7200}
        await client.post(PLANS, json={"owner": "bot", "name": "demo", **once})
        assert (await conflicts(client))["demo"] == [
            ("plan", "trainer/nightly", "2031-06-01T03:00:00Z")
        ]


async def test_an_interval_may_meet_everything(open_client):
    """Nobody here knows when it was carried out last."""
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY)
        often = {"owner": "bot", "name": "often", "when": "every 6h", "model": "small"}
        await client.post(PLANS, json=often)
        assert (await conflicts(client))["nightly"][0][1] == "bot/often"


async def test_a_plan_meets_the_reservation_that_holds_then(open_client):
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY)
        await client.post(PLANS, json=NIGHTLY | {"owner": "me", "name": "mine"})
        lock = {"holder": "me", "ttl_s": 4 * 3600, "reason": "render"}
        await client.post("/api/swap/lock", json=lock)
        assert await conflicts(client) == {
            "nightly": [("reservation", "me/render", "2030-01-01T03:00:00Z")],
            "mine": [],
        }


async def test_a_plan_after_the_reservation_does_not_meet_it(open_client):
    async with open_client() as client:
        await client.post(PLANS, json=NIGHTLY)
        await client.post("/api/swap/lock", json={"holder": "me", "ttl_s": 3 * 3600})
        assert await conflicts(client) == {"nightly": []}


# --------------------------------------------------------------------------------- the registry


async def test_there_is_an_end_to_planning(
    state: State, spark_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans_module, "MOST", 2)
    plans = Plans(state, spark_clock)
    for name in ("a", "b", "a"):  # the third takes the first one's place
        await plans.put("me", name, "every 1h", model=None, duration_s=60)
    with pytest.raises(Conflict):
        await plans.put("me", "c", "every 1h", model=None, duration_s=60)
    assert [plan.name for plan in await plans.all()] == ["a", "b"]
