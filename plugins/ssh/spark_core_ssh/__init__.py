"""Commands on machines, over SSH: with one key, to hosts that are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spark_core import Provider, SettingsSection, hookimpl

if TYPE_CHECKING:
    from spark_core.contracts.machines import Machines


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.ssh]``"""
    return (SettingsSection("plugins.ssh", "spark_core_ssh.settings:SshSettings"),)


@hookimpl
def spark_register_machines() -> Iterable[Provider[Machines]]:
    """One connection to each, kept."""
    opened = "spark_core_ssh.opening:open_machines"
    return (Provider("ssh", opened, configured="spark_core_ssh.settings:is_configured"),)
