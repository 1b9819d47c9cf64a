"""What goes wrong is told, and taken back: section E's 22nd item, part by part, and more."""

from __future__ import annotations

import json
import time

import pytest
from spark_core_promotion.driving import Promotions
from spark_core_promotion.history import History
from spark_core_promotion.models import Broken, Options
from spark_core_promotion.nodes import Nodes
from spark_core_promotion.places import Places

from spark_core.contracts.machines import Machines
from spark_core.errors import BackendError, Conflict, LeaseLost, Locked
from spark_core.swaps.models import Swap
from spark_core.testing.clock import ManualClock

from .conftest import digest, until
from .test_promoting import UPDATE, phases

pytestmark = pytest.mark.anyio


async def failed(office, match: str, **request):
    """The events and the receipt of a promotion that fails so."""
    async with office.open() as spark:
        with pytest.raises(BackendError, match=match):
            await spark.call("promote", {"name": "engine", **request})
        return await spark.call("promote.status", {"name": "engine"})


# ----------------------------------------------------------------------------- the 22nd item


async def test_e22_a_backup_that_fails_is_not_ignored(office):
    """Nothing is installed without one."""
    office.breaks("cp")
    shown = await failed(office, "refused.*cannot be written")
    assert phases(shown.events)[-1] == "checked"
    assert office.is_old()
    assert (office.backups(), office.updates()) == ([], [])


@pytest.mark.slow
async def test_e22_a_backup_that_is_not_what_was_copied_is_noticed(office):
    office.breaks("cp", 'for last in "$@"; do :; done; /bin/cp "$@" && echo x >> "$last"')
    await failed(office, "refused.*is not what was copied")
    assert office.is_old()


@pytest.mark.slow
async def test_e22_a_copy_that_is_not_what_was_sent_is_noticed(office):
    """The digest is compared on the node, after the copy and before anything is renamed."""
    office.breaks("truncate", 'for last in "$@"; do :; done; printf y > "$last"; exit 0')
    await failed(office, "refused.*(cut off|not what was sent)")
    assert office.is_old()
    assert office.left_over() == []


@pytest.mark.slow
async def test_e22_two_promotions_at_once_are_one(office):
    """The second is refused; each has a temporary file of its own name."""
    seen: list[str] = []
    office.at("copied", lambda: seen.extend(file.name for file in office.left_over()))
    async with office.open() as spark:
        async for event in spark.stream("promote", {"name": "engine", "no_restart": True}):
            if getattr(event, "text", "") == "admitted":
                begun = (await spark.call("promote.status", {"name": "engine"})).promotion
                with pytest.raises(Conflict, match="has not ended"):
                    await spark.call("promote", {"name": "engine", "migrate": True})
    assert seen == [f".engine.new-{begun.id}"]


async def test_e22_a_lower_fence_changes_nothing_on_a_machine(office):
    """Whoever slept through the lease is refused by the machine itself."""
    async with office.open() as spark:
        settings = (await spark.resolver.get(Promotions)).settings
        nodes = Nodes(Places(await spark.resolver.get(Machines)), settings)
        await nodes.do("spark1", "discard", "7", "/nothing")
        with pytest.raises(LeaseLost):
            await nodes.do("spark1", "discard", "6", "/nothing")


@pytest.mark.slow
async def test_machines_that_obey_a_newer_state_are_left_alone(office):
    """As after a backup of the state was brought back: it is said what to do."""
    folder = office.machine.home / ".spark-core" / "promotion"
    folder.mkdir(parents=True)
    (folder / "fence.99").touch()
    shown = await failed(office, r"refused.*remove the files fence")
    assert shown.promotion.failure.code == "fenced"
    assert office.is_old()
    assert office.backups() == []


async def test_e22_a_failed_verification_is_taken_back_by_itself(office):
    """The binary and the service; it is said, and the exit is a failure."""
    office.ship("lying")
    shown = await failed(office, "taken back.*commons: the answer is another", verify=True)
    assert shown.promotion.outcome == "rolled_back"
    assert phases(shown.events)[-3:] == ["returning", "returned", "serving"]
    assert office.is_old()


@pytest.mark.slow
async def test_consumers_that_were_restarted_are_restarted_again_on_the_way_back(office):
    """They were connected to the engine that is gone."""
    office.ship("lying")
    await failed(office, "taken back", verify=True, restart_consumers=True)
    for name in ("graph-os", "messaging"):
        assert office.updates(name) == [f"{UPDATE} --force {name}"] * 2
    assert office.is_old()


@pytest.mark.slow
async def test_a_consumer_that_does_not_come_back_is_a_failure(office):
    """The old engine comes back, and the consumer is tried again with it."""
    office.plan["consumers"] = [{"service": "graph-os", "ready_s": 30}]
    file = office.swarm / "graph-os" / "service"
    told = file.read_text()
    inside = json.loads(told)
    inside["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"] = ["sh", "-c", "exit 4"]
    office.at("installed", lambda: file.write_text(json.dumps(inside)))

    def mend() -> None:
        again = json.loads(file.read_text())
        again["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"] = ["sleep", "infinity"]
        file.write_text(json.dumps(again))

    office.at("returning", mend)
    await failed(office, r"taken back.*graph-os: a new task failed.*\(4\)", restart_consumers=True)
    assert office.is_old()
    assert until(lambda: office.runs("graph-os"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["no-such-client"], "cannot be asked"),
        pytest.param(["sh", "-c", "exit 2"], "failed with exit code 2", marks=pytest.mark.slow),
        pytest.param(["sleep", "60"], "cannot be asked", marks=pytest.mark.slow),
    ],
    ids=["missing", "unreachable", "late"],
)
async def test_e22_verification_that_cannot_run_is_a_failure(office, command, why):
    office.plan["verify"] = [{"name": "q", "command": command, "on": "spark1", "timeout_s": 2}]
    shown = await failed(office, why, verify=True)
    assert shown.promotion.failure.code == "verify"
    assert office.is_old()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["no-such-client"], "cannot be asked"),
        (["sh", "-c", "echo cannot connect; exit 2"], "another one than expected"),
        (["echo", "error: unknown query"], "had to be rejected"),
    ],
    ids=["missing", "unreachable", "answered"],
)
async def test_e22_a_client_that_is_missing_rejects_nothing(command, why):
    """What has to be rejected is rejected by the server."""
    from spark_core_promotion.settings import PromotionSettings, Query
    from spark_core_promotion.verifying import ask

    query = Query(name="q", command=command, rejected=True, expect="error: unknown query")
    with pytest.raises(Broken, match=why):
        await ask(query, Places(None), PromotionSettings())


@pytest.mark.slow
async def test_backups_that_cannot_be_pruned_are_no_reason_to_take_it_back(office):
    """It serves and was verified; that some files stay is said."""
    office.settings["keep_backups"] = 1
    (office.destination.parent / "engine.bak-20200101T000000Z").mkdir()
    *events, receipt = await office.promote(verify=True)
    (office.destination.parent / "engine.bak-20200101T000000Z").rmdir()
    assert receipt.outcome == "ready"
    assert any("old backups stay" in event.text for event in events)
    assert office.is_new()


async def test_e22_verify_without_queries_is_refused(office):
    office.plan["verify"] = []
    await failed(office, "refused.*no queries", verify=True)
    assert office.is_old()


@pytest.mark.slow
async def test_e22_a_stale_bind_line_is_not_taken_for_the_new_ones(office):
    """The old container said it a moment ago; the new one never does, so it is hung."""
    office.ship("mute")
    office.settings["stall_s"] = 6
    office.machine.docker("service", "update", "--health-start-period", "600s", "engine")
    until(office.settled)
    shown = await failed(office, "taken back.*nothing new for 6 s")
    assert shown.promotion.failure.code == "hung"
    assert "bound" not in phases(shown.events)
    assert digest(office.destination) == digest(office.engines("old"))
    assert office.ask("version") == "1"


@pytest.mark.slow
async def test_e22_a_migration_that_times_out_stops_there(office):
    """It is slow, not hung: exit 1, nothing restored, no consumer restarted, and it goes on."""
    (office.data / "migration").write_text("40 100")
    office.settings["watch_s"] = 1.0
    options = {"migrate": True, "restore_health_period": True, "restart_consumers": True}
    shown = await failed(office, "stopped at restarted.*but it goes on", **options)
    assert (shown.promotion.outcome, shown.promotion.failure.code) == ("halted", "slow")
    assert office.updates() == [f"{UPDATE} --health-start-period 600s --force engine"]
    assert office.updates("graph-os") == []
    office.settings["watch_s"] = 60
    await office.promote()
    assert office.updates()[1:] == [f"{UPDATE} --health-start-period 2s --force engine"]
    assert office.is_new()
    assert len(office.updates("messaging")) == 1


@pytest.mark.slow
async def test_a_migration_that_hangs_is_told_apart_and_taken_back(office):
    """It says the same again and again: that is no progress."""
    (office.data / "migration").write_text("6 50")
    (office.data / "hangs").touch()
    office.settings["stall_s"] = 6
    shown = await failed(office, "taken back.*nothing new", migrate=True)
    assert shown.promotion.failure.code == "hung"
    assert office.is_old()
    assert office.start_period_s() == 2


@pytest.mark.slow
async def test_e22_a_wrong_node_is_an_error(make_office):
    """The service runs where the plan does not ship to: refused, and nothing is changed."""
    office = make_office(2)
    office.plan["nodes"] = ["spark2"]
    other = office.machines[1].home / "engine"
    office.plan["destination"] = str(other)
    other.write_text("old")
    await failed(office, "refused.*runs on another node than spark2")
    assert other.read_text() == "old"


@pytest.mark.slow
async def test_e22_a_task_that_moved_to_another_node_is_an_error(make_office):
    """It is noticed when the new task begins, and taken back."""
    office = make_office(2)
    file = office.swarm / "engine" / "service"
    told = json.loads(file.read_text())
    placement = told["Spec"]["TaskTemplate"]["Placement"]
    moved = json.dumps(told).replace("node.hostname==spark1", "node.hostname==spark2")
    stays = placement["Constraints"]

    def move_back() -> None:
        again = json.loads(file.read_text())
        again["Spec"]["TaskTemplate"]["Placement"]["Constraints"] = stays
        file.write_text(json.dumps(again))

    office.at("checked", lambda: file.write_text(moved))
    office.at("returned", move_back)
    await failed(office, "a node without the new binary")
    assert office.is_old()


# ------------------------------------------------------------------------ the first boot


@pytest.mark.slow
async def test_a_first_boot_that_takes_four_times_the_start_period_is_promoted(office):
    """One task, no restart loop: health checks may fail for as long as it migrates."""
    office.settings["normal_start_period_s"] = 1
    office.machine.docker("service", "update", "--health-start-period", "1s", "engine")
    until(office.settled)
    (office.data / "migration").write_text("20 210")
    before = len(office.tasks())
    began = time.monotonic()
    *events, receipt = await office.promote(migrate=True, restore_health_period=True, verify=True)
    assert time.monotonic() - began > 4
    assert receipt.outcome == "ready"
    assert len(office.tasks()) == before + 2  # the one that migrated, and the one of the restore
    assert [t["Status"]["State"] for t in office.tasks()[:2]] == ["running", "shutdown"]
    progress = [e.text for e in events if e.kind == "log" and "progress" in e.text]
    assert len(progress) == 20
    assert office.is_new()


@pytest.mark.slow
async def test_without_migrate_such_a_first_boot_is_killed_and_taken_back(office):
    """Its health check fails beyond the start period; it does not become a restart loop."""
    (office.data / "migration").write_text("20 210")
    shown = await failed(office, "taken back.*unhealthy.*needs --migrate")
    assert shown.promotion.failure.code == "crashed"
    assert office.is_old()


@pytest.mark.slow
async def test_an_engine_that_crashes_is_taken_back(office):
    office.ship("crashing")
    await failed(office, r"taken back.*non-zero exit \(3\)")
    assert office.is_old()


# ------------------------------------------------------------------------ swaps and reservations


@pytest.mark.slow
async def test_refused_while_the_gpu_is_reserved(office):
    """Without the token; with it, it is promoted."""
    async with office.open() as spark:
        lock = await spark.call("swap.lock", {"holder": "ada", "ttl_s": 600})
        with pytest.raises(Locked, match="reserved by ada"):
            await spark.call("promote", {"name": "engine"})
        token = (
            lock.token.get_secret_value() if hasattr(lock.token, "get_secret_value") else lock.token
        )
        request = {"name": "engine", "no_restart": True, "token": token}
        assert (await spark.call("promote", request)).outcome == "ready"


async def test_refused_while_a_swap_runs_and_the_other_way_round(office):
    """Neither begins while the other one is at work."""
    async with office.open() as spark:
        promotions = await spark.resolver.get(Promotions)
        history: History = promotions.history
        from spark_core.errors import SparkError
        from spark_core.swaps.driving import Swaps

        swaps = await spark.resolver.get(Swaps)
        swap = Swap(id="s1", host="vllm", model="large", created_at=office.opener.clock.now())
        begun = await promotions.begin("engine", Options(), caller="ada")
        with pytest.raises(Locked, match="being promoted"):
            await swaps.allowed(None)
        await promotions.work(begun.id)
        await swaps.history.admit(swap)
        with pytest.raises(SparkError, match="a swap to large is running"):
            await spark.call("promote", {"name": "engine"})
        assert (await history.newest("engine")).id == begun.id


@pytest.mark.slow
async def test_a_promotion_that_nobody_works_on_goes_on(office):
    """Broken off by whoever asked: the next one goes on, and does nothing twice."""
    async with office.open() as spark:
        stream = spark.stream("promote", {"name": "engine", "verify": True})
        async for event in stream:
            if event.text == "restarted":
                break
        await stream.aclose()
        with pytest.raises(Conflict, match="has not ended"):
            await spark.call("promote", {"name": "engine", "migrate": True})
        assert isinstance(office.opener.clock, ManualClock)
    *_, receipt = await office.promote()
    assert receipt.options.verify
    assert office.updates() == [f"{UPDATE} --force engine"]
    assert office.is_new()


@pytest.mark.slow
async def test_an_update_that_is_done_although_its_command_died_is_not_done_twice(office):
    office.machine.inject("update_dies")
    await office.promote()
    assert office.updates() == [f"{UPDATE} --force engine"]
    assert office.is_new()


async def test_somebody_elses_change_of_the_destination_is_not_overwritten(office):
    """It is neither the old binary nor ours: nobody knows what it is, so it stays."""
    office.at("backed_up", lambda: office.put(b"theirs"))
    await failed(office, "changed by somebody else")
    assert office.destination.read_bytes() == b"theirs"
