"""A card for each Spark: whether it is there, its memory, its VPN address, whether our key fits."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, Field

from spark_core.contracts.machines import HasPublicKey, Machine, Machines
from spark_core.errors import NotConfigured, SparkError

from .settings import ServicesSettings

__all__ = ["list_sparks"]

LOOK_S: Final = 10.0
CONNECT_S: Final = 3.0

#: Everything in one session. What is not there says nothing, and that is no error.
_SCRIPT: Final = """\
grep -E '^Mem(Total|Available):' /proc/meminfo
read -r up _ < /proc/uptime && echo "Uptime: $up"
ip -4 -o address show dev "$1" 2>/dev/null |
  sed -n 's|.* inet \\([0-9.]*\\)/.*|Vpn: \\1|p' | head -n 1
true
"""


class Card(BaseModel, defer_build=True):
    """One Spark."""

    name: str
    host: str
    user: str
    state: Literal["ok", "refused", "unreachable"] = Field(
        description="`refused` takes connections, but we cannot log in."
    )
    detail: str = ""
    key_installed: bool | None = Field(
        default=None, description="Whether our key may log in; nobody knows where it is away."
    )
    memory_total_gib: float | None = None
    memory_available_gib: float | None = None
    uptime_s: float | None = None
    vpn_address: str | None = Field(default=None, description="None where there is no VPN.")


class Cards(BaseModel, defer_build=True):
    """Every Spark, and the public half of the key that they should let in."""

    sparks: list[Card]
    public_key: str | None
    key_detail: str = Field(default="", description="Why there is none to copy.")


async def list_sparks(machines: Machines | None, settings: ServicesSettings) -> Cards:
    """List the Sparks: reachability, memory, uptime, VPN, and whether our SSH key is installed."""
    if machines is None:
        return Cards(sparks=[], public_key=None, key_detail="no machines are configured")
    key, why = await _public_key(machines)
    looks = (_card(machine, machines, settings.vpn_interface) for machine in machines.all)
    return Cards(sparks=list(await asyncio.gather(*looks)), public_key=key, key_detail=why)


async def _card(machine: Machine, machines: Machines, interface: str) -> Card:
    base = {"name": machine.name, "host": machine.host, "user": machine.user}
    try:
        command = ("sh", "-c", _SCRIPT, "sh", interface)
        done = await machines.run(machine.name, command, timeout_s=LOOK_S)
    except NotConfigured as error:
        return Card.model_validate({**base, "state": "refused", "detail": str(error)})
    except SparkError as error:
        there = await _takes_connections(machine)
        state = "refused" if there else "unreachable"
        installed = False if there else None
        told = {"state": state, "detail": str(error), "key_installed": installed}
        return Card.model_validate({**base, **told})
    return Card.model_validate(
        {**base, "state": "ok", "key_installed": True, **_facts(done.stdout)}
    )


def _facts(output: str) -> Mapping[str, float | str]:
    """What a machine said of itself, as far as it did."""
    said = dict(re.findall(r"^(\w+):\s*([\d.]+)", output, re.MULTILINE))
    facts: dict[str, float | str] = {}
    for key, name in (("memory_total_gib", "MemTotal"), ("memory_available_gib", "MemAvailable")):
        if name in said:
            facts[key] = round(int(said[name]) / 1024**2, 1)
    if "Uptime" in said:
        facts["uptime_s"] = float(said["Uptime"])
    if "Vpn" in said:
        facts["vpn_address"] = said["Vpn"]
    return facts


async def _takes_connections(machine: Machine) -> bool:
    """Whether SSH's port is open; of names IPv4 only, and none that ends in .local."""
    if machine.host.endswith(".local"):
        return False
    family = socket.AF_INET6 if ":" in machine.host else socket.AF_INET
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(machine.host, machine.port, family=family)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _public_key(machines: Machines) -> tuple[str | None, str]:
    """The key to copy, or why there is none."""
    if not isinstance(machines, HasPublicKey):
        return None, "the machines are reached without a key of ours"
    try:
        return await machines.public_key(), ""
    except SparkError as error:
        return None, str(error)


def render_cards(cards: Cards) -> str:
    """A line per Spark, for a terminal."""
    lines = [_line(card) for card in cards.sparks] or ["no Spark is configured"]
    return "\n".join([*lines, f"public key: {cards.public_key or cards.key_detail}"])


def _line(card: Card) -> str:
    if card.state != "ok":
        return f"{card.name}  {card.user}@{card.host}  {card.state}: {card.detail}"
    memory = f"{card.memory_available_gib} of {card.memory_total_gib} GiB available"
    vpn = f"  VPN {card.vpn_address}" if card.vpn_address else ""
    days = f"up {(card.uptime_s or 0) / 86_400:.1f} days"
    return f"{card.name}  {card.user}@{card.host}  {memory}  {days}{vpn}"
