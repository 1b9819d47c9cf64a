"""Redaction: nothing private leaves, everything comes back."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import SettingsSection, StateSchema, hookimpl

_HERE = "spark_core_redaction"


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.redaction]``"""
    return (SettingsSection("plugins.redaction", f"{_HERE}.settings:RedactionSettings"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """The vault."""
    return (StateSchema("redaction", f"{_HERE}.migrations"),)
