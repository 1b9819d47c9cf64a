"""Tiles: how each service is, whatever its kind."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import spark_core_lab
from spark_core_lab.sparks.machine import Spark as Machine
from spark_core_services import observing
from spark_core_services.sightings import Sightings

from spark_core import Spark
from spark_core.errors import NotFound
from spark_core.testing.clock import ManualClock

from .conftest import Open, program

pytestmark = pytest.mark.anyio


async def tile(spark: Spark, name: str) -> Any:
    tiles = {tile.name: tile for tile in (await spark.call("services.list")).services}
    return tiles[name]


async def test_a_container_is_as_docker_says(opened: Open, machine: Machine) -> None:
    """Not made yet, running, ended, and with a code."""
    async with opened("{speech: {kind: docker}}") as spark:
        assert (await tile(spark, "speech")).state == "absent"
        machine.docker("run", "-d", "--name", "speech", "image")
        found = await tile(spark, "speech")
        assert (found.state, found.detail) == ("running", "running")
        assert found.since is not None
        assert found.since.tzinfo is not None
        machine.docker("stop", "-t", "0", "speech")
        found = await tile(spark, "speech")
        assert found.state == "stopped"
        assert found.detail.startswith("exited with code")


async def test_a_unit_is_as_systemd_says(opened: Open, machine: Machine) -> None:
    async with opened("{bot: {kind: systemd}}") as spark:
        assert (await tile(spark, "bot")).state == "absent"
        (machine.home / "units" / "bot.service").write_text(
            "LoadState=loaded\nActiveState=failed\n"
        )
        assert (await tile(spark, "bot")).state == "failed"
        machine.call("systemctl", "--user", "start", "bot.service")
        found = await tile(spark, "bot")
        assert found.state == "running"
        assert found.since.isoformat().startswith(("2029-12-31", "2030-01-01"))


async def test_items_12_a_vllm_on_the_second_spark_is_watched(opened: Open) -> None:
    """By its address alone, with what it serves."""
    async with (
        spark_core_lab.start("vllm", models=["far"]) as lab,
        opened(f"{{second: {{kind: vllm, url: '{lab.vllm.url}'}}}}") as spark,
    ):
        found = await tile(spark, "second")
        assert (found.state, found.detail) == ("running", "serves far")
        assert found.actions == []


async def test_items_14_busy_is_told_apart_from_down(opened: Open) -> None:
    """Busy takes connections, and has no time to answer."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    services = f"{{a: {{kind: http, url: 'http://127.0.0.1:{port}'}}}}"
    async with silent, opened(services) as spark:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(observing, "LOOK_S", 1.0)
            assert (await tile(spark, "a")).state == "busy"
    async with opened(services) as spark:
        assert (await tile(spark, "a")).state == "down"


async def test_an_answer_that_is_no_success_is_told(opened: Open) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 418 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, opened(f"{{a: {{kind: http, url: '{url}'}}}}") as spark:
        found = await tile(spark, "a")
        assert found.state == "unhealthy"
        assert "418" in found.detail


async def test_a_container_that_runs_may_be_unhealthy(opened: Open, machine: Machine) -> None:
    """It is, where nothing answers at its address."""
    machine.docker("run", "-d", "--name", "speech", "image")
    async with opened("{speech: {kind: docker, url: 'http://127.0.0.1:9'}}") as spark:
        found = await tile(spark, "speech")
        assert found.state == "unhealthy"
        assert "cannot be reached" in found.detail


async def test_items_13_names_in_local_are_not_looked_up(opened: Open) -> None:
    async with opened("{a: {kind: http, url: 'http://spark.local'}}") as spark:
        found = await tile(spark, "a")
        assert found.state == "unknown"
        assert ".local names are not asked" in found.detail


async def test_a_machine_that_is_away_takes_no_other_tile_along(
    opened: Open, machines: tuple[Machine, ...]
) -> None:
    machines[1].stop_sshd()
    for each in machines:
        each.docker("run", "-d", "--name", "x", "image")
    async with opened(
        "{a: {kind: docker, container: x}, b: {kind: docker, machine: spark2, container: x}, "
        "c: {kind: docker, machine: spark3}}"
    ) as spark:
        states = {t.name: t.state for t in (await spark.call("services.list")).services}
    assert states == {"a": "running", "b": "unreachable", "c": "unknown"}


async def test_items_25_looking_needs_no_sudo(opened: Open, machine: Machine) -> None:
    """A machine where sudo fails is seen as well as any other."""
    program(machine, "sudo", f"touch {machine.home}/asked; exit 1")
    machine.docker("run", "-d", "--name", "a", "image")
    async with opened("{a: {kind: docker}, b: {kind: systemd}}") as spark:
        assert (await tile(spark, "a")).state == "running"
        assert (await spark.call("sparks")).sparks[0].state == "ok"
        await spark.call("services.restart", {"name": "a"})
    assert not (machine.home / "asked").exists()


async def test_a_unit_of_the_systems_asks_nobody_for_a_password(opened: Open) -> None:
    """It is told that it may not be seen."""
    async with opened("{bot: {kind: systemd, user_unit: false}}") as spark:
        found = await tile(spark, "bot")
        assert found.state == "unknown"
        assert "Access denied" in found.detail


# -------------------------------------------------------------------------------- restarts


async def test_e4_a_fast_restart_is_seen(
    opened: Open, machine: Machine, spark_clock: ManualClock
) -> None:
    """It was over before anybody looked: the container's StartedAt tells."""
    machine.docker("run", "-d", "--name", "a", "image")
    async with opened("{a: {kind: docker}}") as spark:
        assert (await tile(spark, "a")).restarts == 0
        spark_clock.advance(60)
        machine.docker("restart", "-t", "0", "a")
        found = await tile(spark, "a")
        assert (found.state, found.restarts, found.restarted_at) == (
            "running",
            1,
            spark_clock.now(),
        )
        spark_clock.advance(60)
        assert (await tile(spark, "a")).restarts == 1


async def test_e4_a_container_that_was_made_anew_is_seen(
    opened: Open, machine: Machine, spark_clock: ManualClock
) -> None:
    machine.docker("run", "-d", "--name", "a", "image")
    async with opened("{a: {kind: docker}}") as spark:
        await tile(spark, "a")
        spark_clock.advance(60)
        machine.docker("rm", "-f", "a")
        machine.docker("run", "-d", "--name", "a", "image")
        assert (await tile(spark, "a")).restarts == 1


async def test_e4_a_unit_that_was_restarted_is_seen(
    opened: Open, machine: Machine, spark_clock: ManualClock
) -> None:
    """By its InvocationID."""
    (machine.home / "units" / "bot.service").touch()
    machine.call("systemctl", "--user", "start", "bot.service")
    async with opened("{bot: {kind: systemd}}") as spark:
        await tile(spark, "bot")
        spark_clock.advance(60)
        machine.call("systemctl", "--user", "restart", "bot.service")
        assert (await tile(spark, "bot")).restarts == 1


async def test_e4_what_was_seen_outlives_the_program(
    opened: Open, machine: Machine, spark_clock: ManualClock
) -> None:
    machine.docker("run", "-d", "--name", "a", "image")
    async with opened("{a: {kind: docker}}") as spark:
        await tile(spark, "a")
    spark_clock.advance(60)
    machine.docker("restart", "-t", "0", "a")
    async with opened("{a: {kind: docker}}") as spark:
        assert (await tile(spark, "a")).restarts == 1


async def test_e4_a_restart_is_counted_once_by_all_workers(
    opened: Open, spark_clock: ManualClock
) -> None:
    """However many of them see it at the same moment."""
    async with opened() as spark:
        sightings = await spark.resolver.get(Sightings)
        await sightings.note({"a": "one"}, spark_clock.now())
        spark_clock.advance(1)
        noted = [sightings.note({"a": "two"}, spark_clock.now()) for _ in range(8)]
        assert {told["a"][0] for told in await asyncio.gather(*noted)} == {1}


async def test_e4_what_was_seen_before_is_no_restart(
    opened: Open, spark_clock: ManualClock
) -> None:
    """A worker that looked earlier, and is slow, sees the old container."""
    async with opened() as spark:
        sightings = await spark.resolver.get(Sightings)
        early = spark_clock.now()
        spark_clock.advance(1)
        await sightings.note({"a": "two"}, spark_clock.now())
        assert (await sightings.note({"a": "one"}, early))["a"][0] == 0
        assert (await sightings.note({"a": "two"}, spark_clock.now()))["a"][0] == 0


async def test_a_restart_of_ours_is_none_for_who_looks_meanwhile(
    opened: Open, spark_clock: ManualClock
) -> None:
    """For as long as it may take, and no longer."""
    async with opened() as spark:
        sightings = await spark.resolver.get(Sightings)
        await sightings.note({"a": "one"}, spark_clock.now())
        await sightings.expect("a", 10)
        spark_clock.advance(9)
        assert (await sightings.note({"a": "two"}, spark_clock.now()))["a"][0] == 0
        spark_clock.advance(9)
        assert (await sightings.note({"a": "three"}, spark_clock.now()))["a"][0] == 1


async def test_what_we_restart_ourselves_is_no_surprise(
    opened: Open, machine: Machine, spark_clock: ManualClock
) -> None:
    """Only what others do after that is counted."""
    machine.docker("run", "-d", "--name", "a", "image")
    async with opened("{a: {kind: docker}}") as spark:
        await tile(spark, "a")
        spark_clock.advance(60)
        await spark.call("services.restart", {"name": "a"})
        spark_clock.advance(60)
        assert (await tile(spark, "a")).restarts == 0
        machine.docker("restart", "-t", "0", "a")
        spark_clock.advance(60)
        assert (await tile(spark, "a")).restarts == 1


# ------------------------------------------------------------------------------ which there are


async def test_items_11_disabled_services_are_absent(opened: Open) -> None:
    """By their names, or whole kinds."""
    services = "{a: {kind: systemd}, b: {kind: docker}, c: {kind: systemd}}"
    async with opened(services, environ={"DISABLED_SERVICES": "a,docker"}) as spark:
        assert [t.name for t in (await spark.call("services.list")).services] == ["c"]
        with pytest.raises(NotFound):
            await spark.call("services.restart", {"name": "a"})


@pytest.mark.parametrize("user", ["", "  "])
async def test_items_22_a_blank_user_hides_the_bridge(opened: Open, user: str) -> None:
    """From the tiles, and from its routes; also where services.yaml has it."""
    environ = {"MATRIX_BRIDGE_USER": user}
    async with opened("{matrix-bridge: {kind: docker}}", environ=environ) as spark:
        assert (await spark.call("services.list")).services == []
        for operation in ("matrix_bridge.update", "matrix_bridge.logs"):
            with pytest.raises(NotFound, match="no service 'matrix-bridge'"):
                await spark.call(operation)


async def test_items_22_the_bridges_status_is_dockers(opened: Open, machine: Machine) -> None:
    """It needs no entry: its container's name is its own."""
    machine.docker("run", "-d", "--name", "matrix-bridge", "image")
    async with opened(environ={"MATRIX_BRIDGE_USER": "@bot:example"}) as spark:
        (found,) = (await spark.call("services.list")).services
    assert (found.name, found.title, found.state) == ("matrix-bridge", "Matrix bridge", "running")


async def test_a_bad_entry_is_told_and_the_rest_survives(opened: Open) -> None:
    services = "{a: {kind: systemd}, b: {kind: dokcer}, c: {kind: http}, d: {kind: http, unit: x}}"
    async with opened(services) as spark:
        tiles = await spark.call("services.list")
    assert [t.name for t in tiles.services] == ["a"]
    assert len(tiles.warnings) == 3
    assert "url is missing" in tiles.warnings[1]


async def test_overrides_take_the_place_of_entries(opened: Open, spark_home: Path) -> None:
    overrides = spark_home / ".spark" / "services-overrides.yaml"
    overrides.parent.mkdir(exist_ok=True)
    overrides.write_text("services: {a: {kind: docker, title: Ours}, b: }")
    async with opened("{a: {kind: systemd}, b: {kind: systemd}}") as spark:
        tiles = await spark.call("services.list")
    assert [(t.name, t.title) for t in tiles.services] == [("a", "Ours")]


async def test_the_state_holds_no_more_than_names_and_ids(
    opened: Open, machine: Machine, spark_home: Path
) -> None:
    machine.docker("run", "-d", "--name", "a", "-e", "TOKEN=hush-hush", "image")
    async with opened("{a: {kind: docker}}") as spark:
        await spark.call("services.list")
    with sqlite3.connect(spark_home / ".spark" / "state.db") as database:
        text = "".join(database.iterdump())
    database.close()
    assert re.search(r"\"services_sightings\" VALUES\('a'", text)
    assert "hush" not in text
