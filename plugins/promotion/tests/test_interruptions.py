"""What comes in between: lost answers, machines that are away, others at the same moment."""

from __future__ import annotations

import asyncio
import threading

import pytest
from spark_core_promotion.driving import Promotions
from spark_core_promotion.history import History
from spark_core_promotion.models import Options
from spark_core_promotion.places import Places

from spark_core.errors import BackendError, Conflict, Unavailable

from .test_failures import failed
from .test_promoting import UPDATE, phases

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_an_update_whose_answer_got_lost_is_not_repeated(office, monkeypatch):
    """The connection broke when docker had done it: a second one would cut a migration off."""
    run = Places.run
    lost: list[str] = []

    async def loses(places, machine, command, **more):
        done = await run(places, machine, command, **more)
        if "update" in command and not lost:
            lost.append(machine)
            raise Unavailable("the connection broke")
        return done

    monkeypatch.setattr(Places, "run", loses)
    *_, receipt = await office.promote()
    assert lost
    assert receipt.outcome == "ready"
    assert office.updates() == [f"{UPDATE} --force engine"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["machine", "docker"])
async def test_who_stays_away_during_a_migration_does_not_cut_it_off(office, fault):
    """It halts there; nothing is taken back, and it goes on when they are there again."""
    (office.data / "migration").write_text("30 100")
    office.settings["reach_s"] = 0.5
    away = office.machine.stop_sshd if fault == "machine" else lambda: inject(office)
    office.at("restarted", away)
    with pytest.raises(BackendError, match="stopped at restarted"):
        await office.promote(migrate=True)
    office.patch.undo()
    office.tidy()
    shown = await office.status()
    assert (shown.promotion.outcome, shown.promotion.back) == ("halted", False)
    await office.promote()
    assert office.updates() == [f"{UPDATE} --health-start-period 600s --force engine"]
    assert office.is_new()


def inject(office) -> None:
    office.machine.inject("no_swarm")


@pytest.mark.slow
async def test_docker_that_is_away_for_a_moment_is_asked_again(office):
    """As while a swarm chooses its leader."""
    fault = office.machine.folder / "faults" / "no_swarm"

    def briefly() -> None:
        inject(office)
        threading.Timer(1.0, fault.unlink).start()

    office.at("restarted", briefly)
    *_, receipt = await office.promote()
    assert receipt.outcome == "ready"
    assert office.is_new()


@pytest.mark.slow
async def test_a_consumer_that_is_to_have_no_tasks_is_not_waited_for(office):
    """It is begun anew when somebody wants it again."""
    office.create("idle", "--replicas", "0", "--env", "GRAPH_BACKEND=fanout", command=["true"])
    office.plan["consumers"] = [{"service": "idle"}]
    try:
        *_, receipt = await office.promote(restart_consumers=True)
    finally:
        office.machine.docker("service", "rm", "idle")
    assert receipt.outcome == "ready"


async def test_the_backup_of_a_promotion_is_never_pruned(office):
    """Not even where others have names of a later day: some clock was wrong."""
    office.settings["keep_backups"] = 1
    for day in ("20990101", "20990102"):
        (office.destination.parent / f"engine.bak-{day}T000000Z").write_text("x")
    await office.promote(no_restart=True)
    *_, receipt = await office.promote("promote.rollback")
    assert receipt.outcome == "rolled_back"
    assert office.is_old()


@pytest.mark.slow
async def test_a_refused_promotion_leaves_no_backup(office):
    """Tried again and again on a full disk, they would fill it."""
    office.breaks("truncate")
    await failed(office, "refused")
    assert (office.backups(), office.left_over()) == ([], [])
    assert office.is_old()


@pytest.mark.slow
async def test_a_start_period_that_is_no_whole_second_comes_back(office):
    office.machine.docker("service", "update", "--health-start-period", "2500ms", "engine")
    await office.promote(migrate=True)
    await office.promote("promote.rollback")
    assert office.start_period_s() == 2.5


@pytest.mark.slow
async def test_what_somebody_brought_to_its_end_is_not_taken_for_unfinished(office, monkeypatch):
    """They went on with it between the look and the admission."""
    office.at("copied", lambda: office.put(b"theirs"))
    async with office.open() as spark:
        promotions = await spark.resolver.get(Promotions)
        begun = await promotions.begin("engine", Options(no_restart=True), caller="ada")
        history = promotions.history
        halted = await _halt(promotions, begun.id)

        async def late(of: History, plan: str):
            return halted

        await promotions.begin("engine", Options(), caller="ada")
        office.put(office.engines("old").read_bytes())
        office.destination.chmod(0o750)
        await promotions.work(begun.id)
        ended = await history.find(begun.id)
        assert ended.outcome == "rolled_back"
        monkeypatch.setattr(History, "newest", late)
        monkeypatch.setattr(History, "newest_touching", late)
        for again in (
            promotions.begin("engine", Options(), caller="bob"),
            promotions.take_back("engine", caller="bob"),
        ):
            with pytest.raises(Conflict, match="meanwhile"):
                await again
        assert await history.find(begun.id) == ended


async def _halt(promotions: Promotions, id: str):
    """Bring it so far that it can neither go on nor back."""
    await promotions.work(id)
    found = await promotions.history.find(id)
    assert found.outcome == "halted", found
    return found


@pytest.mark.slow
async def test_a_rollback_waits_until_the_dead_are_known_to_be(office):
    """Whoever asks at once after a kill is not sent away."""
    from .test_killed import run

    killed = await asyncio.to_thread(run, office, "promote", "copied", "after")
    assert killed.returncode == -9, killed.stderr
    done = await asyncio.to_thread(run, office, "promote.rollback", "never", "before")
    assert done.returncode == 0, done.stderr
    assert office.is_old()


@pytest.mark.slow
async def test_a_long_build_leaves_room_for_what_the_server_says(office):
    office.plan["build"] = ["sh", "-c", "seq 2100"]
    *events, _ = await office.promote(build=True)
    said = [event.text for event in events if event.kind == "log"]
    assert len([line for line in said if line.isdigit()]) == 2000
    assert said[-1].startswith("Listening on UDS")
    assert phases(events)[-1] == "bound"


@pytest.mark.slow
async def test_one_that_touched_nothing_does_not_hide_the_one_before(office):
    """It was taken back before it had begun; the next rollback means what is in place."""
    await office.promote(no_restart=True)
    async with office.open() as spark:
        promotions = await spark.resolver.get(Promotions)
        begun = await promotions.begin("engine", Options(), caller="ada")
    await office.promote("promote.rollback")
    *_, receipt = await office.promote("promote.rollback")
    assert receipt.id != begun.id
    assert office.is_old()
    with pytest.raises(Conflict, match="taken back already"):
        await office.promote("promote.rollback")


@pytest.mark.slow
async def test_docker_that_refuses_an_update_for_a_moment_is_told_again(office):
    """As where somebody changed the service in that moment: its version is another one then."""
    fault = office.machine.folder / "faults" / "update_fails"

    def briefly() -> None:
        office.machine.inject("update_fails")
        threading.Timer(0.7, fault.unlink).start()

    office.at("bound", briefly)
    *_, receipt = await office.promote(restore_health_period=True)
    assert receipt.outcome == "ready"
    assert office.is_new()
