"""The command ``spark``.

The root context's ``obj`` is the settings file that ``--config`` names, or None. Commands of
other packages find it so::

    config = click.get_current_context().find_root().obj
"""

from __future__ import annotations

import importlib.metadata
import io
import sys
from collections.abc import Callable
from typing import Any

import click

from .commands import add_commands
from .failures import report
from .installed import Installed, discover, make_current

__all__ = ["Root", "main", "make_command"]


class Root(click.Group):
    """``spark``: one for each run, since what is below it depends on the settings file."""

    def __init__(self, load: Callable[[str | None], Installed]) -> None:
        super().__init__(
            "spark",
            params=_options(),
            help="The control plane of a small private AI cluster.",
        )
        self._load = load
        self._loaded = False
        self.debug = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of what is installed."""
        self._compose(ctx)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What is installed under *cmd_name*."""
        self._compose(ctx)
        return super().get_command(ctx, cmd_name)

    def _compose(self, ctx: click.Context) -> None:
        if not self._loaded:
            self._loaded = True
            installed = self._load(ctx.obj)
            make_current(ctx, installed)
            add_commands(self, installed)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; what it returns is no exit code."""
        super().invoke(ctx)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line and exit: 0 done, 1 failed, 2 misuse, 130 interrupted."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except SystemExit:  # a command's own exit code
            raise
        except BaseException as error:
            code = report(error, debug=self.debug)
        sys.exit(code)


def _options() -> list[click.Parameter]:
    # Eager, so that what comes before --help is heeded by it.
    return [
        click.Option(
            ["--config"],
            type=click.Path(),
            metavar="PATH",
            help="The settings file, instead of spark.toml here or $SPARK_CONFIG.",
            is_eager=True,
            expose_value=False,
            callback=_set_config,
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            help="Show where in the program an error was raised.",
            is_eager=True,
            expose_value=False,
            callback=_set_debug,
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            help="Show the version and exit.",
            is_eager=True,
            expose_value=False,
            callback=_print_version,
        ),
    ]


def _set_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.obj = value


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    assert isinstance(ctx.command, Root)
    ctx.command.debug = value


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"spark {importlib.metadata.version('spark-core')}")
        ctx.exit()


def make_command(load: Callable[[str | None], Installed] = discover) -> click.Group:
    """The command ``spark`` over what *load* finds with the settings file it is given."""
    return Root(load)


def main() -> None:
    """Run the command line of this process."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a poor locale is no reason to fail
    make_command().main(prog_name="spark")
