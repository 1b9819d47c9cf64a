"""Commands on machines, over SSH: with one key, to hosts that are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spark_core import Provider, SettingsSection, hookimpl

if TYPE_CHECKING:
    from spark_core.contracts.machines import Machines

_SETTINGS = "spark_core_ssh.settings"


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.ssh]``"""
    return (SettingsSection("plugins.ssh", f"{_SETTINGS}:SshSettings"),)


@hookimpl
def spark_register_machines() -> Iterable[Provider[Machines]]:
    """One connection to each, kept."""
    return (
        Provider(
            "ssh", "spark_core_ssh.machines:open_machines", configured=f"{_SETTINGS}:is_configured"
        ),
    )
