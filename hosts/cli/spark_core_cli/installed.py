"""What a command line works with: the plugins first, the settings only when they are needed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spark_core.errors import SettingsError, SparkError
from spark_core.operations import Operation
from spark_core.plugins import Plugins
from spark_core.sources import Source

from .results import results_only

if TYPE_CHECKING:
    from spark_core.spark import Spark

__all__ = ["Installed", "current", "discover", "make_current"]

_KEY = "spark_core_cli.installed"


class Installed:
    """The plugins that were found, and where their settings come from.

    *source* is the error where the settings cannot even be read: help is still given then.
    ``warnings`` is what is wrong with the commands that they offer.
    """

    def __init__(self, plugins: Plugins, source: Source | SparkError) -> None:
        self.plugins = plugins
        self.warnings: list[str] = []
        self._source = source

    @cached_property
    def spark(self) -> Spark:
        """All of it composed.

        :raises SettingsError: a setting is wrong; one line of the message for each.
        :raises PluginError: a plugin is broken, and settings say that nothing starts then.
        """
        from spark_core.spark import compose  # only here: help composes nothing

        if isinstance(self._source, SparkError):
            raise self._source
        return compose(self._source, plugins=self.plugins)

    def spark_for(self, operation: Operation) -> Spark:
        """:attr:`spark`; without settings for what only looks at plugins, if they are wrong.

        So that ``spark plugins`` helps to find out what is wrong.
        """
        try:
            return self.spark
        except SparkError as error:
            if set(operation.needs.values()) == {Plugins}:
                with suppress(SettingsError):
                    return self._without_settings()
            raise error

    def _without_settings(self) -> Spark:
        from spark_core.spark import compose

        spark = compose(Source(None, Path(), {}, {}, {}), plugins=self.plugins)
        click.echo("warning: the settings are wrong; see `spark config check`", err=True)
        return spark


def discover(config: str | None) -> Installed:
    """What is installed, with the settings of *config* or of the default place.

    :raises PluginError: two plugins clash.
    """
    with results_only(), _uncollected():  # a plugin may print when it is imported
        try:
            source = Source.read(config)
            return Installed(Plugins.discover(source.disabled_plugins(), examined=False), source)
        except SettingsError as error:
            return Installed(Plugins.discover(examined=False), error)


@contextmanager
def _uncollected() -> Iterator[None]:
    """While the block runs, no garbage is looked for: what is imported stays, and is much."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def make_current(context: click.Context, installed: Installed) -> None:
    """Let the commands under *context* find *installed*."""
    context.meta[_KEY] = installed


def current() -> Installed:
    """What the running command works with."""
    installed = click.get_current_context().meta[_KEY]
    assert isinstance(installed, Installed)
    return installed
