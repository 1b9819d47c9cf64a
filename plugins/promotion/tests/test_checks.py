"""What cannot end well is refused before anything is changed."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest
from spark_core_promotion.binary import examine
from spark_core_promotion.checks import _fits
from spark_core_promotion.models import Broken, Options
from spark_core_promotion.nodes import NodeState
from spark_core_promotion.places import LocalMachine
from spark_core_promotion.settings import Plan

from spark_core.errors import BackendError, SparkError

from .conftest import SOURCE, digest

pytestmark = pytest.mark.anyio


async def refused(office, match: str, **request) -> None:
    """It is, by the promotion itself and by the one that is only played."""
    async with office.open() as spark:
        for dry in ({"dry_run": True}, {}):
            with pytest.raises(SparkError, match=match):
                await spark.call("promote", {"name": "engine", **request, **dry})
    assert office.is_old()
    assert (office.backups(), office.left_over(), office.updates()) == ([], [], [])


def change(office, name: str, **spec) -> str:
    """Let the service be declared otherwise; gives what it was."""
    file = office.swarm / name / "service"
    told = file.read_text()
    changed = json.loads(told)
    changed["Spec"].update(spec)
    new = file.with_name("new")
    new.write_text(json.dumps(changed))
    new.replace(file)
    return told


@pytest.mark.slow
async def test_a_service_that_swarm_takes_back_itself_is_refused(office):
    """It would begin the old one as its own rule says, perhaps with two at once."""
    told = change(
        office, "engine", UpdateConfig={"Order": "stop-first", "FailureAction": "rollback"}
    )
    try:
        await refused(office, "update-failure-action pause")
    finally:
        (office.swarm / "engine" / "service").write_text(told)


def test_a_service_with_a_task_on_every_node_is_refused():
    """How many tasks it is to have is not known, so nobody could say that all serve."""
    from spark_core_promotion.checks import _can_be_watched
    from spark_core_promotion.services import _service

    inside = {"ForceUpdate": 0, "ContainerSpec": {}}
    told = {"Spec": {"Mode": {"Global": {}}, "TaskTemplate": inside}}
    with pytest.raises(Broken, match="is not replicated"):
        _can_be_watched(_service("engine", told))


@pytest.mark.slow
async def test_a_query_on_a_machine_that_nobody_knows_is_refused(office):
    """Not found out when the old server is gone already."""
    office.plan["verify"] = [{"name": "q", "command": ["true"], "on": "spark9"}]
    await refused(office, "no machine 'spark9'", verify=True)


async def test_e22_consumers_that_no_plan_names_are_not_dropped_silently(office):
    office.plan["consumers"] = []
    await refused(office, "no consumers", restart_consumers=True)


@pytest.mark.slow
async def test_a_build_that_no_plan_says_is_refused(office):
    await refused(office, "no command that builds", build=True)


@pytest.mark.slow
async def test_a_dry_run_with_a_build_looks_at_all_else(office):
    """The binary is not there yet; its consumers are."""
    office.plan["build"] = ["true"]
    office.binary.unlink()
    assert await office.promote(build=True, dry_run=True)
    office.plan["consumers"] = [{"service": "graph-os", "environment": {"GRAPH_BACKEND": "other"}}]
    async with office.open() as spark:
        with pytest.raises(BackendError, match="GRAPH_BACKEND"):
            await spark.call("promote", {"name": "engine", "build": True, "dry_run": True})


@pytest.mark.parametrize("number", [3, 40, 243, 9999], ids=["386", "arm", "riscv", "unknown"])
def test_a_binary_for_another_kind_of_machine_is_refused(engines, tmp_path, number):
    """Whichever kind that is, also one that nobody listed."""
    other = tmp_path / "engine"
    content = bytearray(engines("new").read_bytes())
    content[18:20] = number.to_bytes(2, "little")
    other.write_bytes(content)
    state = NodeState("", 0, "x86_64", 2**40, "n")
    with pytest.raises(Broken, match="is for"):
        _fits(examine(other, ()), "spark1", state)


def test_an_object_file_is_no_binary(tmp_path):
    """It defines the symbol, and nobody can run it."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    made = tmp_path / "engine.o"
    words = ["gcc", "-c", '-DVERSION="2"', "-DGUARD", "-o", str(made), str(SOURCE)]
    subprocess.run(words, check=True)
    with pytest.raises(Broken, match="no program"):
        examine(made, ("FinanceAvellaneda",))


def test_a_name_table_that_lies_elsewhere_is_refused(engines, tmp_path):
    """The reader of such files then seeks to where no file goes."""
    content = bytearray(engines("new").read_bytes())
    sections = int.from_bytes(content[40:48], "little")
    for at in range(sections, len(content) - 63, 64):
        content[at + 24 : at + 32] = b"\xff" * 8
    damaged = tmp_path / "engine"
    damaged.write_bytes(content)
    with pytest.raises(Broken):
        examine(damaged, ("FinanceAvellaneda",))


def test_a_start_period_beyond_all_measure_is_misuse():
    """Docker could not write it, and would say so when the binary is installed already."""
    with pytest.raises(ValueError, match="less than or equal"):
        Options(health_start_period=10**20)


def test_a_user_without_a_name_can_promote(monkeypatch):
    """As in a container that runs as some number."""
    import getpass

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert LocalMachine().all[0].user


@pytest.mark.slow
async def test_items_8_a_dry_run_leaves_every_byte_as_it_is(office):
    """On the machine, of promotions in the state, and beside it; the audit says who asked."""
    async with office.open() as spark:
        await spark.call("promote.status", {"name": "engine"})
        before = everything(office)
        await spark.call("promote", {"name": "engine", "dry_run": True, "verify": True})
        assert everything(office) == before


def everything(office) -> list[str]:
    with closing(sqlite3.connect(office.folder / ".spark" / "state.db")) as state:
        rows = [line for line in state.iterdump() if "promotion" in line]
    folders = (office.destination.parent, office.data, office.folder, office.machine.home)
    files = {f for folder in folders for f in folder.rglob("*") if f.is_file()}
    kept = sorted(file for file in files if not file.name.startswith("state.db"))
    return [*rows, *(f"{file} {digest(file)}" for file in kept)]


def test_an_empty_guard_symbol_is_none():
    """Every mangled name would have it."""
    with pytest.raises(ValueError, match="guard_symbols"):
        Plan.model_validate({"binary": "/engine", "guard_symbols": [""]})
