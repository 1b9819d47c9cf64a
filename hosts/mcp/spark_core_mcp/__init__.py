"""The MCP host: operations as tools for agents, and the command ``mcp``."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Command, SettingsSection, hookimpl

__all__ = ["spark_register_commands", "spark_register_settings"]


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """Where it listens, and what it lets agents do."""
    return (SettingsSection("mcp", "spark_core_mcp.settings:McpSettings"),)


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """``spark mcp``."""
    summary = "Offer tools to agents over MCP, on standard input and output or over HTTP"
    return (Command("mcp", summary, "spark_core_mcp.command:command"),)
