"""Section B of the contract, and system 4's items: what a promotion does, in which order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest
from spark_core_promotion.driving import Promotions
from spark_core_promotion.settings import PromotionSettings
from spark_core_promotion.work import start_period

from spark_core.errors import BackendError, InvalidRequest

from .conftest import PLUGINS, digest

pytestmark = pytest.mark.anyio

UPDATE = "--detach --update-order stop-first"


def phases(events):
    return [event.text for event in events if event.kind == "phase"]


async def test_b_order_of_a_promotion(office):
    """Every step in its order; the consumers one after the other; the receipt says it all."""
    *events, receipt = await office.promote(verify=True, restart_consumers=True)
    assert phases(events) == [
        *("admitted", "checked", "backed_up", "copied", "installed", "restarted", "bound"),
        *("consumers", "verified"),
    ]
    assert [e.text for e in events if e.kind == "note"] == [
        *("graph-os runs again", "messaging runs again"),
        *("version: answered", "commons: answered", "nonsense: rejected"),
    ]
    assert "Listening on UDS" in next(e.text for e in events if e.kind == "log")
    assert office.is_new()
    for name in ("engine", "graph-os", "messaging"):
        assert office.updates(name) == [f"{UPDATE} --force {name}"]
    assert (receipt.outcome, receipt.failure) == ("ready", None)
    assert receipt.digest == digest(office.binary)
    assert receipt.old == {"spark1": digest(office.engines("old"))}
    assert receipt.container == office.tasks()[0]["Status"]["ContainerStatus"]["ContainerID"]
    shown = await office.status()
    assert shown.promotion == receipt
    assert phases(shown.events) == phases(events)


@pytest.mark.slow
async def test_b_no_restart_only_puts_the_binary_in_place(office):
    """The service goes on with the inode that it has."""
    task = office.tasks()[0]["ID"]
    *events, receipt = await office.promote(no_restart=True)
    assert phases(events)[-1] == "installed"
    assert receipt.outcome == "ready"
    assert digest(office.destination) == digest(office.binary)
    assert (office.tasks()[0]["ID"], office.updates(), office.ask("version")) == (task, [], "1")


@pytest.mark.slow
async def test_b_build_makes_the_binary_first(office):
    """Its command runs where the plan says, with FEATURES, and its lines are shown."""
    office.plan["build"] = ["sh", "-c", 'echo "features $FEATURES"; cp made engine']
    office.plan["build_directory"] = str(office.folder)
    office.binary.rename(office.folder / "made")
    *events, receipt = await office.promote(build=True, no_restart=True)
    assert [e.text for e in events if e.kind == "log"] == ["features full"]
    assert phases(events)[1] == "built"
    assert receipt.digest == digest(office.engines("new"))


@pytest.mark.slow
async def test_b_a_build_that_fails_changes_nothing(office):
    office.plan["build"] = ["false"]
    with pytest.raises(BackendError, match=r"refused.*the build \(false\) failed"):
        await office.promote(build=True)
    assert office.is_old()


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, None),
        ({"migrate": True}, 600),
        ({"health_start_period": 90}, 90),
        ({"migrate": True, "health_start_period": 90}, 90),
    ],
    ids=str,
)
def test_items_5_migrate_means_600_unless_another_value_is_given(options, seconds):
    from spark_core_promotion.models import Options

    assert start_period(Options(**options), PromotionSettings()) == seconds


@pytest.mark.slow
async def test_items_5_restore_follows_the_bind(office):
    """The long period first, the normal one when it serves, and then it serves again."""
    *events, _ = await office.promote(migrate=True, restore_health_period=True)
    assert phases(events)[-3:] == ["restarted", "bound", "restored"]
    assert office.updates() == [
        f"{UPDATE} --health-start-period 600s --force engine",
        f"{UPDATE} --health-start-period 2s --force engine",
    ]
    assert office.start_period_s() == 2
    assert office.is_new()


async def test_items_8_a_dry_run_prints_the_plan_and_changes_nothing(office):
    """Not even the state, nor anything on the machines."""
    events = await office.promote(
        dry_run=True, verify=True, migrate=True, restore_health_period=True, restart_consumers=True
    )
    assert {event.kind for event in events} == {"plan"}
    text = "\n".join(event.text for event in events)
    assert f"sha256 {digest(office.binary)}" in text
    assert f"docker service update {UPDATE} --health-start-period 600s --force engine" in text
    assert f"docker service update {UPDATE} --force messaging" in text
    assert "ask: nonsense" in text
    assert office.is_old()
    assert (office.backups(), office.left_over(), office.updates()) == ([], [], [])
    assert not (office.machine.home / ".spark-core").exists()
    assert (await office.status()).promotion is None


@pytest.mark.parametrize("kind", [pytest.param("without", marks=pytest.mark.slow), "text"])
async def test_items_2_without_the_guard_symbol_nothing_is_touched(office, kind):
    """A text that is the same, which `strings` would find, is no symbol."""
    office.ship(kind)
    async with office.open() as spark:
        for request in ({"dry_run": True}, {}):
            with pytest.raises(BackendError, match="does not define FinanceAvellaneda"):
                await spark.call("promote", {"name": "engine", **request})
    assert office.is_old()
    assert (office.backups(), office.left_over(), office.updates()) == ([], [], [])


async def test_b_a_missing_binary_is_refused(office):
    office.binary.unlink()
    with pytest.raises(BackendError, match=r"refused.*No such file"):
        await office.promote()


@pytest.mark.slow
async def test_b_what_cannot_be_run_is_refused(office):
    office.binary.chmod(0o644)
    with pytest.raises(BackendError, match="no file that can be run"):
        await office.promote()


async def test_items_3_the_install_is_atomic(office):
    """Who reads the destination in a loop sees the old or the new binary, and nothing else."""
    known = {digest(office.engines("old")), digest(office.engines("new"))}
    seen: set[str] = set()
    stopped = threading.Event()

    def read() -> None:
        while not stopped.is_set():
            seen.add(digest(office.destination))

    before = office.destination.stat()
    running = f"/proc/{office.tasks()[0]['Status']['ContainerStatus']['PID']}/exe"
    program = os.stat(running).st_ino
    reader = threading.Thread(target=read)
    reader.start()
    try:
        await office.promote(no_restart=True)
        after = office.destination.stat()
        assert os.stat(running).st_ino == program
        [backup] = office.backups()
        assert digest(backup) == digest(office.engines("old"))
        await office.promote("promote.rollback")
    finally:
        stopped.set()
        reader.join()
    assert seen == known
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        *(before.st_mode, before.st_uid, before.st_gid),
    )
    assert after.st_ino != before.st_ino
    assert office.left_over() == []
    assert office.is_old()


@pytest.mark.slow
async def test_items_4_start_first_is_never_emitted(office):
    """Also where the service itself is set to it: no two engines have the data at once."""
    office.machine.docker("service", "update", "--update-order", "start-first", "engine")
    (office.swarm / "engine" / "updates").unlink()
    await office.promote()
    assert office.updates() == [f"{UPDATE} --force engine"]
    journal = [e["what"] for e in office.machine.journal][-2:]
    assert journal == ["ended", "begins"]


@pytest.mark.parametrize("found", ["tiered", pytest.param(None, marks=pytest.mark.slow)])
async def test_items_7_a_consumer_that_is_not_fanout_is_refused_before_anything_changes(
    office, found
):
    change = (
        ("--env-rm", "GRAPH_BACKEND") if found is None else ("--env-add", f"GRAPH_BACKEND={found}")
    )
    office.machine.docker("service", "update", *change, "graph-os")
    with pytest.raises(BackendError, match=r"graph-os: GRAPH_BACKEND .* must be fanout"):
        await office.promote(restart_consumers=True)
    assert office.is_old()
    assert (office.backups(), office.updates()) == ([], [])


@pytest.mark.slow
async def test_rollback_brings_back_the_binary_and_the_service(office):
    """On request, with the start period that was before; and only once."""
    await office.promote(migrate=True)
    assert office.is_new()
    assert office.start_period_s() == 600
    *events, receipt = await office.promote("promote.rollback")
    assert phases(events)[-3:] == ["returning", "returned", "serving"]
    assert (receipt.outcome, receipt.failure) == ("rolled_back", None)
    assert office.is_old()
    assert office.start_period_s() == 2
    with pytest.raises(Exception, match="taken back already"):
        await office.promote("promote.rollback")


async def test_kept_backups_are_pruned(office):
    """The newest stay; what is called otherwise is not ours."""
    office.settings["keep_backups"] = 2
    folder = office.destination.parent
    names = ["engine.bak-20200101T000000Z", "engine.bak-20210101T000000Z", "engine.bak-mine"]
    for name in names:
        (folder / name).write_text("x")
    await office.promote(no_restart=True)
    kept = [file.name for file in office.backups()]
    assert names[0] not in kept
    assert {names[1], names[2]} < {*kept}
    assert len(kept) == 3


@pytest.mark.slow
async def test_it_serves_on_this_machine_without_ssh(office, monkeypatch):
    """A manager and a node called local: the same, without a connection."""
    monkeypatch.setenv("PATH", f"{office.machine.folder}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(office.machine.home))
    monkeypatch.setenv("SPARK_LAB_MACHINE", str(office.machine.folder))
    office.plan.update(nodes=["local"], manager="local", verify=[])
    office.machine.stop_sshd()
    await office.promote()
    assert office.is_new()


# ------------------------------------------------------------------------------- the command line


#: A plan whose machines nobody reaches.
SMALL = """
[plugins.promotion.plans.engine]
binary = "engine"
destination = "/opt/engine"
service = "engine"
"""


def spark(folder, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spark_core_cli", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
async def test_b_exit_codes_of_success_and_failure(office):
    """0: it serves; 1: it does not, and why."""
    folder = office.folder
    (folder / "spark.toml").write_text(office.toml())
    done = await asyncio.to_thread(spark, folder, "promote", "engine", "--no-restart", "--yes")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:5] == ["admitted", "checked", "backed_up", "copied", "installed"]
    assert "engine is in place" in lines[-1]
    office.ship("without")
    done = await asyncio.to_thread(spark, folder, "promote", "engine", "--yes")
    assert done.returncode == 1
    assert "does not define FinanceAvellaneda" in done.stderr
    done = await asyncio.to_thread(spark, folder, "promote", "status", "engine")
    assert "was refused, and nothing was changed" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["engine", "--start-first"],
        pytest.param(["engine", "--health-start-period", "soon"], marks=pytest.mark.slow),
        ["engine", "--health-start-period=1.5"],
        pytest.param(["engine", "--no-restart", "--verify"], marks=pytest.mark.slow),
        pytest.param(["nothing"], marks=pytest.mark.slow),
    ],
)
def test_b_misuse_exits_with_2(tmp_path, words):
    (tmp_path / "spark.toml").write_text(SMALL)
    done = spark(tmp_path, "promote", *words, "--yes")
    assert done.returncode == 2, done.stderr


async def test_b_environment_variables_stand_in_for_what_a_plan_leaves_out(spark_open):
    """Every variable of the original, with its default."""
    environ = {
        "ENGINE_BIN_DEST": "/opt/engine",
        "SWARM_MANAGER": "spark2",
        "ENGINE_SERVICE": "graph_engine",
        "GRAPHOS_SERVICE": "graph_graph-os",
        "MESSAGING_SERVICE": "graph_messaging",
        "FEATURES": "small",
        "MIGRATE_DEFAULT_START_PERIOD": "700",
        "NORMAL_HEALTH_START_PERIOD": "30",
        "MIGRATE_WATCH_TIMEOUT": "900",
        "ENGINE_SOCKET": "/run/engine",
        "VERIFY_GRAPH": "mine",
    }
    toml = '[plugins.promotion.plans.engine]\nbinary = "engine"'
    async with spark_open(*PLUGINS, toml=toml, environ=environ) as spark:
        settings = (await spark.resolver.get(Promotions)).settings
    plan = settings.plan("engine")
    assert (plan.to, plan.by, plan.serves) == ("/opt/engine", "spark2", "graph_engine")
    assert plan.nodes == ("spark2",)
    assert [(c.service, c.environment) for c in plan.consumers or ()] == [
        ("graph_graph-os", {"GRAPH_BACKEND": "fanout"}),
        ("graph_messaging", {"GRAPH_BACKEND": "fanout"}),
    ]
    assert (settings.features, settings.socket, settings.graph) == ("small", "/run/engine", "mine")
    periods = (settings.migrate_start_period_s, settings.normal_start_period_s, settings.watch_s)
    assert periods == (700, 30, 900)
    usual = PromotionSettings()
    periods = (usual.migrate_start_period_s, usual.normal_start_period_s, usual.watch_s)
    assert periods == (600, 20, 1800)
    assert (usual.features, usual.graph) == ("full", "__commons__")


@pytest.mark.parametrize(
    "option",
    [
        {"verify": True},
        pytest.param({"restart_consumers": True}, marks=pytest.mark.slow),
        pytest.param({"migrate": True}, marks=pytest.mark.slow),
        pytest.param({"restore_health_period": True}, marks=pytest.mark.slow),
        pytest.param({"health_start_period": 30}, marks=pytest.mark.slow),
    ],
    ids=str,
)
async def test_e22_no_restart_drops_nothing_silently(spark_open, option):
    """What would be left out is refused instead."""
    async with spark_open(*PLUGINS, toml=SMALL) as spark:
        with pytest.raises(InvalidRequest, match="--no-restart leaves nothing to do for --"):
            await spark.call("promote", {"name": "engine", "no_restart": True, **option})
