"""The command ``spark``: every installed operation from the shell."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Command, hookimpl

__all__ = ["spark_register_commands"]


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """Looking at the settings."""
    summary = "Show the settings, check them, or print their JSON schema."
    return (Command("config", summary, "spark_core_cli.config:config"),)
