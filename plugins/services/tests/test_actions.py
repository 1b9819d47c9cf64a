"""What is done to services: step by step, with an end in time, and whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from spark_core_lab.sparks.machine import Spark as Machine
from spark_core_services import actions, observing
from spark_core_services import steps as steps_module

from spark_core import Spark
from spark_core.errors import (
    BackendError,
    Conflict,
    InvalidRequest,
    LeaseHeld,
    NotFound,
    SparkError,
    TimedOut,
)
from spark_core.state import AuditLog, Leases

from .conftest import Open, program, steps_of

pytestmark = pytest.mark.anyio


def phases(steps: list[Any]) -> list[tuple[str, str]]:
    """What began and ended, without the lines between."""
    return list(dict.fromkeys((step.phase, step.state) for step in steps))


async def collect(spark: Spark, operation: str, request: Any, steps: list[Any]) -> None:
    """Every step of what fails at last."""
    async for step in spark.stream(operation, request):
        steps.append(step)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, for what happens on a machine."""
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - there is nothing to wait for but time
            await asyncio.sleep(0.01)


def status(machine: Machine, name: str) -> str:
    return machine.docker("inspect", "-f", "{{.State.Status}}", name).stdout.strip()


async def test_a_container_is_stopped_started_and_restarted(opened: Open, machine: Machine) -> None:
    machine.docker("run", "-d", "--name", "a", "image")
    async with opened("{a: {kind: docker}}") as spark:
        await steps_of(spark, "services.stop", {"name": "a"})
        assert status(machine, "a") == "exited"
        steps = await steps_of(spark, "services.start", {"name": "a"})
        assert status(machine, "a") == "running"
        assert phases(steps)[-1] == ("health", "done")
        await steps_of(spark, "services.restart", {"name": "a"})
        assert status(machine, "a") == "running"


async def test_a_unit_is_started_and_stopped(opened: Open, machine: Machine) -> None:
    unit = machine.home / "units" / "bot.service"
    unit.touch()
    async with opened("{bot: {kind: systemd}}") as spark:
        await steps_of(spark, "services.start", {"name": "bot"})
        assert "ActiveState=active" in unit.read_text()
        await steps_of(spark, "services.stop", {"name": "bot"})
        assert "ActiveState=inactive" in unit.read_text()


async def test_a_command_that_fails_is_a_failure(opened: Open) -> None:
    """With docker's own words among the steps, and so in the audit."""
    async with opened("{a: {kind: docker}}") as spark:
        steps: list[Any] = []
        with pytest.raises(BackendError, match="docker failed with exit code 1"):
            await collect(spark, "services.start", {"name": "a"}, steps)
        assert "No such container: a" in steps[1].line
        assert (steps[-1].phase, steps[-1].state) == ("start", "failed")
        (entry,) = await (await spark.resolver.get(AuditLog)).entries(action="services.start")
        assert entry.outcome == "backend-error"


@pytest.mark.parametrize("action", ["start", "stop", "restart", "update", "logs"])
async def test_what_is_only_watched_cannot_be_controlled(opened: Open, action: str) -> None:
    async with opened("{a: {kind: http, url: 'http://127.0.0.1:9'}}") as spark:
        with pytest.raises(Conflict, match="only watched"):
            await steps_of(spark, f"services.{action}", {"name": "a"})


async def test_a_service_that_does_not_become_well_is_a_failure(
    opened: Open, machine: Machine
) -> None:
    machine.docker("run", "-d", "--name", "a", "image")
    async with opened("{a: {kind: docker, url: 'http://127.0.0.1:9'}}", health_s=0.1) as spark:
        with pytest.raises(BackendError, match=r"a did not become well: unhealthy"):
            await steps_of(spark, "services.restart", {"name": "a"})


# --------------------------------------------------------------------------------- updating

UPDATE = """\
{matrix-bridge: {kind: docker, update: {
  pull: [docker, pull, "bridge:new"],
  recreate: [sh, -c, "docker rm -f matrix-bridge && docker run -d --name matrix-bridge bridge"]}}}
"""
USER = {"MATRIX_BRIDGE_USER": "@bot:example"}


async def test_items_22_an_update_streams_its_phases(opened: Open, machine: Machine) -> None:
    """In the order of the file, each with what its command writes."""
    machine.docker("run", "-d", "--name", "matrix-bridge", "bridge")
    old = machine.docker("inspect", "-f", "{{.Id}}", "matrix-bridge").stdout
    async with opened(UPDATE, environ=USER) as spark:
        steps = await steps_of(spark, "matrix_bridge.update")
    assert phases(steps) == [
        (phase, state) for phase in ("pull", "recreate", "health") for state in ("running", "done")
    ]
    assert any(step.phase == "pull" and "sha256:" in step.line for step in steps)
    assert machine.docker("inspect", "-f", "{{.Id}}", "matrix-bridge").stdout != old


async def test_items_22_a_phase_that_ends_with_another_code_is_a_failure(
    opened: Open, machine: Machine
) -> None:
    """Nothing comes after it, and the reason is among the steps."""
    machine.inject("missing_images", ["bridge:new"])
    machine.docker("run", "-d", "--name", "matrix-bridge", "bridge")
    async with opened(UPDATE, environ=USER) as spark:
        steps: list[Any] = []
        with pytest.raises(BackendError, match="exit code 1"):
            await collect(spark, "matrix_bridge.update", {}, steps)
    assert phases(steps) == [("pull", "running"), ("pull", "failed")]
    assert "No such image" in steps[1].line


async def test_items_22_an_update_ends_after_25_minutes(opened: Open) -> None:
    """Or sooner, where settings say so; never later."""
    services = "{a: {kind: docker, update: {slow: [sleep, '600']}}}"
    async with opened(services, cap_s=0.5) as spark:
        with pytest.raises(TimedOut, match=r"it took longer than 0\.00833333 minutes"):
            await steps_of(spark, "services.update", {"name": "a"})
    with pytest.raises(SparkError, match="less than or equal to 1500"):
        async with opened(services, cap_s=1501):
            pass


async def test_a_machine_that_hangs_is_told_of_soon(
    opened: Open, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when the longest time for the whole is over; and the phase is told at once."""
    monkeypatch.setattr(steps_module, "REACH_S", 0.2)
    monkeypatch.setattr(observing, "LOOK_S", 0.2)
    machine.inject("ssh_hangs")
    async with opened("{a: {kind: docker}}") as spark:
        steps: list[Any] = []
        with pytest.raises(TimedOut, match=r"no command begins there within 0\.2 s"):
            await collect(spark, "services.restart", {"name": "a"}, steps)
    assert phases(steps) == [("restart", "running"), ("restart", "failed")]


async def test_a_command_that_hangs_has_a_time_of_its_own(
    opened: Open, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "CONTROL_S", 0.2)
    program(machine, "docker", '[ "$1" = stop ] && exec sleep 600; exit 1')
    async with opened("{a: {kind: docker}}") as spark:
        with pytest.raises(TimedOut, match=r"docker did not end within 0\.2 s"):
            await steps_of(spark, "services.stop", {"name": "a"})


async def test_an_update_that_nobody_described_is_refused(opened: Open) -> None:
    async with opened("{a: {kind: docker}}") as spark:
        with pytest.raises(Conflict, match="nothing says how a is updated"):
            await steps_of(spark, "services.update", {"name": "a"})


async def test_the_words_of_a_command_arrive_as_they_are(opened: Open, machine: Machine) -> None:
    """No shell looks at them on the way."""
    machine.docker("run", "-d", "--name", "a", "image")
    services = "{a: {kind: docker, update: {say: [printf, '<%s>', 'a b', '$(id)', \"c;'d\"]}}}"
    async with opened(services) as spark:
        steps = await steps_of(spark, "services.update", {"name": "a"})
    assert "<a b><$(id)><c;'d>" in [step.line for step in steps]


async def test_an_action_goes_on_where_nobody_listens_any_more(
    opened: Open, machine: Machine
) -> None:
    """A page that is closed must not leave a service half updated."""
    machine.docker("run", "-d", "--name", "a", "image")
    done = machine.home / "done"
    command = "until [ -e go ]; do sleep 0.01; done; touch done"
    services = f"{{a: {{kind: docker, update: {{wait: [sh, -c, '{command}']}}}}}}"
    async with opened(services) as spark:
        async with aclosing(spark.stream("services.update", {"name": "a"})) as steps:
            await anext(steps)
        (machine.home / "go").touch()
        leases = await spark.resolver.get(Leases)

        async def ended() -> bool:
            return await leases.current("service:a") is None

        await until(ended)
        assert done.exists()


async def test_one_thing_at_a_time_is_done_to_a_service(opened: Open, machine: Machine) -> None:
    """Over all processes; another service is free."""
    for name in ("a", "b"):
        machine.docker("run", "-d", "--name", name, "image")
    async with opened("{a: {kind: docker}, b: {kind: docker}}") as spark:
        leases = await spark.resolver.get(Leases)
        async with leases.hold("service:a", 30, holder="somebody else"):
            with pytest.raises(LeaseHeld, match="somebody else"):
                await steps_of(spark, "services.restart", {"name": "a"})
            await steps_of(spark, "services.restart", {"name": "b"})


async def test_what_goes_on_ends_with_the_program(opened: Open, machine: Machine) -> None:
    """Its lease is given back, so that the next program can begin again."""
    services = "{a: {kind: docker, update: {slow: [sleep, '600']}}}"
    async with (
        opened(services) as spark,
        aclosing(spark.stream("services.update", {"name": "a"})) as steps,
    ):
        await anext(steps)
    async with opened(services) as spark:
        assert await (await spark.resolver.get(Leases)).current("service:a") is None


# ------------------------------------------------------------------------------------- logs


async def lines_of(spark: Any, operation: str, request: dict[str, Any]) -> list[str]:
    (told,) = await steps_of(spark, operation, request)
    return list(told.lines)


async def all_lines(
    spark: Spark, count: int, operation: str = "services.logs", request: Any = None
) -> list[str]:
    """The log of "a", once it has *count* lines."""
    lines: list[str] = []

    async def written() -> bool:
        asked = {"name": "a"} if request is None else request
        lines[:] = await lines_of(spark, operation, asked)
        return len(lines) >= count

    await until(written)
    return lines


async def test_the_last_lines_of_a_log_are_told(opened: Open, machine: Machine) -> None:
    machine.docker("run", "-d", "--name", "a", "image", "sh", "-c", "seq 20; sleep 600")
    async with opened("{a: {kind: docker}}") as spark:
        lines = await all_lines(spark, 20)
        assert lines == [str(number) for number in range(1, 21)]
        few = await lines_of(spark, "services.logs", {"name": "a", "lines": 3})
        assert few == ["18", "19", "20"]
        with pytest.raises(InvalidRequest, match="5000"):
            await lines_of(spark, "services.logs", {"name": "a", "lines": 5001})


async def test_a_log_is_followed(opened: Open, machine: Machine) -> None:
    """Until whoever reads it leaves, or the container ends."""
    command = "until [ -e $HOME/go ]; do sleep 0.01; done; echo news; sleep 600"
    machine.docker(
        "run", "-d", "--name", "a", "-e", f"HOME={machine.home}", "i", "sh", "-c", command
    )
    async with opened("{a: {kind: docker}}") as spark:
        request = {"name": "a", "follow": True}
        async with aclosing(spark.stream("services.logs", request)) as lines:
            (machine.home / "go").touch()
            assert (await anext(lines)).lines == ["news"]


async def test_a_line_without_end_is_cut(opened: Open, machine: Machine) -> None:
    command = "head -c 100000 /dev/zero | tr '\\\\0' x; echo"
    machine.docker("run", "-d", "--name", "a", "image", "sh", "-c", command)
    async with opened("{a: {kind: docker}}") as spark:
        lines = await all_lines(spark, 1)
        assert max(map(len, lines)) == 4096


async def test_the_log_of_a_unit_is_the_journals(opened: Open) -> None:
    async with opened("{bot: {kind: systemd}}") as spark:
        (line,) = await lines_of(spark, "services.logs", {"name": "bot", "lines": 7})
    assert line == "--user --unit=bot.service --lines=7 --no-pager --output=cat"


async def test_items_22_the_bridges_log_is_told(opened: Open, machine: Machine) -> None:
    machine.docker("run", "-d", "--name", "matrix-bridge", "image", "sh", "-c", "echo joined")
    async with opened(environ=USER) as spark:
        lines = await all_lines(spark, 1, "matrix_bridge.logs", {})
    assert lines == ["joined"]


async def test_an_unknown_service_is_told_with_those_that_are_known(opened: Open) -> None:
    async with opened("{speech: {kind: docker}}") as spark:
        with pytest.raises(NotFound, match=r"did you mean 'speech'\?"):
            await steps_of(spark, "services.restart", {"name": "speach"})
