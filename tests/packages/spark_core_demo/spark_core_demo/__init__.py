"""What the plugin offers. Nothing is done here: hooks return descriptions."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import Effect, Operation, Provider, SettingsSection, hookimpl
from spark_core.contracts.embedding import Embedder

from .embedder import open_embedder
from .greeting import say
from .settings import DemoSettings


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.demo]``"""
    return (SettingsSection("plugins.demo", DemoSettings),)


@hookimpl
def spark_register_embedders() -> Iterable[Provider[Embedder]]:
    """Used where ``[providers] embedder = "demo"`` says so."""
    return (Provider("demo", open_embedder),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """``POST /api/greeting/say``, and ``spark greeting say``."""
    return (Operation("greeting.say", say, Effect.READ),)
