"""The routes of the operator, and what the audit has of them."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_sessions.runner import Runner
from spark_core_sessions.states import SessionStates

from spark_core.errors import Conflict, LeaseLost, NotFound
from spark_core.state import AuditLog, Leases

from .conftest import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_this_process")]

RUN = "/api/admin/run-session-processor"
TOKEN = "0123456789abcdef0123456789abcdef"


async def audited(spark):
    """The newest entry of the audit."""
    return (await (await spark.resolver.get(AuditLog)).entries())[0]


async def reached(folder, by="bad", count=1):
    await until(lambda: len(folder.seen(by)) >= count)


async def test_a_run_answers_ok_and_its_statistics(open_client, folder):
    folder.write("ada/a.jsonl", {"n": 1})
    async with open_client() as client:
        answer = await client.post(RUN, params={"processor": "count"})
    assert answer.status_code == 200
    assert answer.json == {
        "ok": True,
        "details": {
            "processor": "count",
            "scanned": 1,
            "processed": 1,
            "skipped": 0,
            "errors": 0,
            "items_extracted": 1,
            "errors_detail": [],
            "quarantined": 0,
            "remaining": 0,
        },
    }


async def test_a_run_in_which_a_file_failed_is_200_and_not_ok(open_client, folder):
    folder.write("ada/a.jsonl", {"do": "raise"})
    async with open_client() as client:
        answer = await client.post(RUN, params={"processor": "bad"})
    assert (answer.status_code, answer.json["ok"]) == (200, False)
    assert answer.json["details"]["errors"] == 1


async def test_unknown_processor_returns_400(open_client):
    """It lists those that there are."""
    async with open_client() as client:
        answer = await client.post(RUN, params={"processor": "nobody"})
    assert answer.status_code == 400
    assert "known: bad, count, empty" in answer.json["detail"]


async def test_a_run_is_audited_with_its_counts(spark, folder, run):
    folder.write("ada/a.jsonl", {"n": 1})
    await run()
    entry = await audited(spark)
    assert (entry.action, entry.resource, entry.outcome) == (
        "run_session_processor:count",
        "job:session-processor:count",
        "ok",
    )
    assert entry.detail == {
        "scanned": 1,
        "processed": 1,
        "skipped": 0,
        "errors": 0,
        "items_extracted": 1,
        "remaining": 0,
    }


async def test_concurrent_invocation_returns_409(open_client, folder, make_spark):
    folder.write("ada/a.jsonl", {"do": "hang"})
    spark = make_spark()
    async with open_client(of=spark) as client:
        first = asyncio.create_task(client.post(RUN, params={"processor": "bad"}))
        await reached(folder)
        second = await client.post(RUN, params={"processor": "bad"})
        assert (second.status_code, (await first).status_code) == (409, 200)
        assert "bad is already running" in second.json["detail"]


async def test_item_6_of_two_concurrent_posts_one_is_200_and_one_409(open_client, folder):
    folder.write("ada/a.jsonl", {"do": "hang"})
    async with open_client() as client:
        posts = [client.post(RUN, params={"processor": "bad"}) for _ in range(2)]
        assert sorted(a.status_code for a in await asyncio.gather(*posts)) == [200, 409]


async def test_e17_the_lease_is_one_over_all_workers_and_hosts(make_spark, run, folder):
    """Another process of the same state is refused, and not only another request of this one."""
    folder.write("ada/a.jsonl", {"do": "hang"})
    one, other = make_spark(), make_spark()
    try:
        first = asyncio.create_task(run("bad", of=one))
        await reached(folder)
        with pytest.raises(Conflict, match="bad is already running"):
            await run("bad", of=other)
        await run("count", of=other)  # processors do not wait for each other
        await first
    finally:
        await one.resolver.aclose()
        await other.resolver.aclose()


async def test_e17_400_and_409_are_audited_too(spark, folder, run):
    with pytest.raises(Exception, match="there is no session processor"):
        await run("nobody")
    entry = await audited(spark)
    assert (entry.action, entry.outcome) == ("run_session_processor:nobody", "unknown-choice")
    leases = await spark.resolver.get(Leases)
    async with leases.hold("session-processor:count"):
        with pytest.raises(Conflict):
            await run("count")
    entry = await audited(spark)
    assert (entry.action, entry.outcome) == ("run_session_processor:count", "conflict")


async def test_e17_who_leaves_ends_the_work_and_gives_the_lease_back(spark, folder, run):
    """The work does not go on where nobody waits for it, so it is in flight no more."""
    folder.write("ada/a.jsonl", {"do": "hang"})
    running = asyncio.create_task(run("bad"))
    await reached(folder)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    leases = await spark.resolver.get(Leases)
    assert await leases.current("session-processor:bad") is None
    assert (await audited(spark)).outcome == "interrupted"


async def test_lock_released_on_runner_exception(open_client, make_spark, folder, monkeypatch):
    folder.write("ada/a.jsonl", {"n": 1})
    spark = make_spark()
    async with open_client(of=spark) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Runner, "_run", _explode)
            answer = await client.post(RUN, params={"processor": "count"})
            assert answer.status_code == 500
        answer = await client.post(RUN, params={"processor": "count"})
        assert answer.status_code == 200


async def test_unhandled_exception_still_audits(open_client, make_spark, folder, monkeypatch):
    monkeypatch.setattr(Runner, "_run", _explode)
    spark = make_spark()
    async with open_client(of=spark) as client:
        answer = await client.post(RUN, params={"processor": "count"})
        assert answer.status_code == 500
        entry = await audited(spark)
    assert entry.action == "run_session_processor:count"
    assert entry.detail == {"unhandled_error": "RuntimeError: boom"}


async def _explode(*_):
    raise RuntimeError("boom")


async def test_who_lost_the_lease_writes_nothing_down(spark, run, folder, monkeypatch):
    """A holder who slept finds out when it marks a file, in the same transaction."""
    folder.write("ada/a.jsonl", {"n": 1})
    leases, states = await spark.resolver.get(Leases), await spark.resolver.get(SessionStates)
    mark = SessionStates.mark

    async def late(self, lease, *more):
        await leases.release(lease)
        await leases.acquire("session-processor:count", 30.0, holder="another")
        await mark(self, lease, *more)

    monkeypatch.setattr(SessionStates, "mark", late)
    with pytest.raises(LeaseLost):
        await run()
    assert await states.of("count") == {}


async def test_401_and_403_without_the_schedulers_token(open_client, make_spark, folder):
    spark = make_spark(environ={"SCHEDULER_API_TOKEN": TOKEN})
    async with open_client(of=spark) as client:
        for path in (RUN, "/api/admin/run-session-collector"):
            assert (await client.post(path)).status_code == 401
            wrong = {"Authorization": "Bearer " + "x" * 32}
            assert (await client.post(path, headers=wrong)).status_code == 403
        assert (await client.get("/api/health/detailed")).status_code == 401
        assert (await client.get("/api/health")).status_code == 200


async def test_item_9_a_run_is_audited_as_scheduler_system_local(open_client, make_spark, folder):
    spark = make_spark(environ={"SCHEDULER_API_TOKEN": TOKEN})
    async with open_client(of=spark) as client:
        right = {"Authorization": f"Bearer {TOKEN}"}
        answer = await client.post(RUN, params={"processor": "count"}, headers=right)
        assert answer.status_code == 200
        entry = await audited(spark)
    assert entry.actor == "scheduler@system.local"


async def test_e10_a_poison_file_waits_longer_each_time(spark, run, folder, spark_clock):
    """5 minutes, 10, 20: it is not tried at every run, and others are not kept waiting."""
    folder.write("ada/poison.jsonl", {"do": "raise"})
    folder.write("ada/good.jsonl", {"do": "nothing"})
    first = (await run("bad")).details
    assert (first.processed, first.errors) == (1, 1)
    waits = []
    for failures in (1, 2, 3):
        again = (await run("bad")).details
        assert (again.errors, again.quarantined) == (0, 1)
        states = await spark.resolver.get(SessionStates)
        failure = (await states.failures("bad"))["ada/poison.jsonl"]
        assert failure.failures == failures
        wait = (failure.next_try_at - spark_clock.now()).total_seconds()
        waits.append(wait)
        spark_clock.advance(wait)
        assert (await run("bad")).details.errors == 1
    assert waits == [300, 600, 1200]


async def test_e10_the_delay_grows_to_a_day_and_no_more(spark, spark_clock):
    states, leases = await spark.resolver.get(SessionStates), await spark.resolver.get(Leases)
    lease = await leases.acquire("x", 30.0)
    for _ in range(40):
        failure = await states.fail(lease, "bad", "ada/a.jsonl", "ValueError")
    assert (failure.next_try_at - spark_clock.now()).total_seconds() == 86400


async def test_e10_a_poison_file_that_is_mended_is_processed_and_forgotten(
    run, folder, spark, spark_clock
):
    folder.write("ada/a.jsonl", {"do": "raise"})
    await run("bad")
    folder.write("ada/a.jsonl", {"do": "nothing"})
    spark_clock.advance(300)
    assert (await run("bad")).details.processed == 1
    assert await (await spark.resolver.get(SessionStates)).failures("bad") == {}


async def test_somebody_may_let_a_poison_file_be_tried_at_once(run, folder, spark):
    folder.write("ada/a.jsonl", {"do": "raise"})
    await run("bad")
    named = {"processor": "bad", "session_file": "ada/a.jsonl"}
    await spark.call("sessions.retry", named)
    assert (await run("bad")).details.errors == 1
    with pytest.raises(NotFound):
        await spark.call("sessions.retry", {**named, "processor": "count"})


async def test_the_status_tells_of_each_processor(spark, run, folder):
    folder.write("ada/a.jsonl", {"do": "raise"})
    await run("count")
    await run("bad")
    status = {p.name: p for p in (await spark.call("sessions.status")).processors}
    count, bad = status["count"], status["bad"]
    assert (count.files, count.items_extracted, count.running) == (1, 1, False)
    assert count.last_run.processed == 1
    assert [q.session_file for q in bad.quarantined] == ["ada/a.jsonl"]
    assert not status["verification"].available
    from spark_core_sessions.operations import shown_status

    assert "ada/a.jsonl: ValueError" in shown_status(await spark.call("sessions.status"))
