"""Cards: each Spark, and whether our key fits."""

from __future__ import annotations

from pathlib import Path

import pytest
from spark_core_lab.sparks.machine import Spark as Machine

from .conftest import PLUGINS, Open, program

pytestmark = pytest.mark.anyio

ADDRESS = """\
[ "$*" = "-4 -o address show dev wg0" ] || exit 1
echo '7: wg0    inet 10.88.0.3/24 scope global wg0\\       valid_lft forever preferred_lft forever'
"""


async def test_items_29_a_card_tells_memory_uptime_and_the_key(
    opened: Open, machine: Machine
) -> None:
    async with opened() as spark:
        cards = await spark.call("sparks")
    first, second = cards.sparks
    assert (first.name, second.name) == ("spark1", "spark2")
    assert (first.state, first.key_installed, first.user) == ("ok", True, machine.user)
    assert first.memory_total_gib > first.memory_available_gib > 0
    assert first.uptime_s > 0


async def test_items_29_the_vpns_address_is_told_where_there_is_one(
    opened: Open, machine: Machine
) -> None:
    """No interface: no address, and no error."""
    program(machine, "ip", ADDRESS)
    async with opened() as spark:
        first, second = (await spark.call("sparks")).sparks
    assert first.vpn_address == "10.88.0.3"
    assert (second.vpn_address, second.state) == (None, "ok")


async def test_a_machine_without_the_program_ip_has_no_address(
    opened: Open, machine: Machine
) -> None:
    program(machine, "ip", "exit 127")
    async with opened() as spark:
        assert (await spark.call("sparks")).sparks[0].vpn_address is None


async def test_items_29_a_key_that_is_not_installed_is_told(
    opened: Open, machines: tuple[Machine, ...]
) -> None:
    """It is known only of a machine that can be reached."""
    machines[1].stop_sshd()
    (machines[0].key.parent / "key.pub").write_text("")
    async with opened() as spark:
        first, second = (await spark.call("sparks")).sparks
    assert (first.state, first.key_installed) == ("refused", False)
    assert "with this key" in first.detail
    assert (second.state, second.key_installed) == ("unreachable", None)


async def test_items_29_the_public_key_is_there_to_be_copied(
    opened: Open, machine: Machine
) -> None:
    """And nothing of the private one."""
    key = (machine.key.parent / "key.pub").read_text().split()
    async with opened() as spark:
        cards = await spark.call("sparks")
    assert cards.public_key.split()[:2] == key[:2]
    assert "PRIVATE" not in cards.model_dump_json()


async def test_no_machines_are_no_cards(spark_open, spark_home: Path) -> None:
    async with spark_open(*PLUGINS) as spark:
        cards = await spark.call("sparks")
    assert cards.sparks == []
    assert cards.public_key is None
