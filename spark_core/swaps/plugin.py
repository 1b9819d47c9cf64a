"""What swaps offer, through the hooks that plugins use."""

from __future__ import annotations

from collections.abc import Iterable

from ..declarations import Resource, SettingsSection
from ..hookspecs import hookimpl
from ..operations import Operation
from .settings import SwapSettings


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[swaps]``"""
    return (SettingsSection("swaps", SwapSettings),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[object]]:
    """The catalog."""
    return (Resource("spark_core.swaps.catalog:Catalog", "spark_core.swaps.catalog:open_catalog"),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """The models that can be loaded."""
    return ()
