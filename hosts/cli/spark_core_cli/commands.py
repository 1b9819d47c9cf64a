"""The tree of commands: an operation's name says where its command is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from spark_core.declarations import Command
from spark_core.errors import InvalidRequest, PluginError
from spark_core.operations import Effect, Operation
from spark_core.plugins import Plugins
from spark_core.spark import check_request

from .installed import Installed
from .output import show, tell
from .parameters import bind, gather, usage_error
from .running import run

__all__ = ["JSON_OPTION", "add_commands"]

#: ``--json``, for every command. No field of a request can have this name.
JSON_OPTION = click.Option(["--json", "_json"], is_flag=True, help="Answer with JSON.")
_YES_OPTION = click.Option(["--yes", "_yes"], is_flag=True, help="Do not ask before it is done.")


class Deferred(click.Command):
    """A command that is known by its name and summary, and made when it is run."""

    def __init__(self, name: str, summary: str, make: Callable[[], click.Command]) -> None:
        super().__init__(name, help=summary)
        self._make = make

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of the command itself, which is from now on in this one's place."""
        return self._make().make_context(info_name, args, parent, **extra)


@dataclass(frozen=True)
class _Leaf:
    """A command and where it stands in the tree; *distribution* offers it."""

    path: tuple[str, ...]
    distribution: str
    command: click.Command


def add_commands(root: click.Group, installed: Installed) -> None:
    """Put every installed operation and command into *root*, in groups as their names say.

    :raises PluginError: two of them want the same place.
    """
    leaves = sorted(_leaves(installed), key=lambda leaf: leaf.path)
    _check_places(leaves)
    for leaf in leaves:
        _group(root, leaf.path[:-1]).add_command(leaf.command)
    _describe_groups(root)


def _leaves(installed: Installed) -> Iterator[_Leaf]:
    plugins = installed.plugins
    for operation in plugins.operations():
        path = tuple(operation.name.replace("_", "-").split("."))
        command = Deferred(path[-1], operation.summary, _maker(operation, installed))
        yield _Leaf(path, plugins.distribution_of(operation), command)
    for declared in plugins.commands():
        path = tuple(declared.name.split("."))
        command = Deferred(path[-1], declared.summary, _loader(declared, plugins))
        yield _Leaf(path, plugins.distribution_of(declared), command)


def _check_places(leaves: list[_Leaf]) -> None:
    taken: dict[tuple[str, ...], _Leaf] = {}
    for leaf in leaves:  # sorted: what is to be a group comes before what is in it
        places = (leaf.path[:length] for length in range(1, len(leaf.path) + 1))
        for other in (taken[place] for place in places if place in taken):
            raise PluginError(
                f"the commands {_spoken(other)} and {_spoken(leaf)} are in each other's way",
                hint="switch one of the plugins off: [plugins.NAME] enabled = false",
            )
        taken[leaf.path] = leaf


def _spoken(leaf: _Leaf) -> str:
    return f"'spark {' '.join(leaf.path)}' of {leaf.distribution}"


def _group(root: click.Group, path: tuple[str, ...]) -> click.Group:
    """The group at *path*, made if it is not there."""
    group = root
    for name in path:
        if name not in group.commands:
            group.add_command(click.Group(name))
        found = group.commands[name]
        assert isinstance(found, click.Group)  # see _check_places
        group = found
    return group


def _describe_groups(root: click.Group) -> None:
    for command in root.commands.values():
        if isinstance(command, click.Group):
            command.help = ", ".join(command.commands)
            _describe_groups(command)


# -------------------------------------------------------------------------------- operations


def _maker(operation: Operation, installed: Installed) -> Callable[[], click.Command]:
    return lambda: _command(operation, installed)


def _command(operation: Operation, installed: Installed) -> click.Command:
    bound = bind(operation)

    def callback(_json: bool, _yes: bool = False, **values: Any) -> None:
        try:
            request = check_request(operation, gather(bound, values))
            spark = installed.spark_for(operation)
            _warn_of_broken(installed.plugins)
            if operation.effect is Effect.OPERATE and not _yes:
                _confirm(operation)
            run(spark, operation, request, lambda result: show(operation, result, as_json=_json))
        except InvalidRequest as error:
            raise usage_error(error, bound) from error

    own = [_YES_OPTION, JSON_OPTION] if operation.effect is Effect.OPERATE else [JSON_OPTION]
    return click.Command(
        operation.name,
        callback=callback,
        params=[*(field.parameter for field in bound), *own],
        help=operation.description.partition("\n:")[0],  # without the fields of the docstring
    )


def _warn_of_broken(plugins: Plugins) -> None:
    for plugin in plugins.broken():
        where = f"{plugin.name} ({plugin.distribution} {plugin.version})"
        tell(f"warning: plugin {where} is broken: {plugin.error}")


def _confirm(operation: Operation) -> None:
    """Ask whether the cluster may be touched.

    :raises click.UsageError: there is nobody to ask.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        context = click.get_current_context()
        raise click.UsageError("this touches the cluster and needs --yes in a pipe", context)
    if not click.confirm(f"{operation.name} touches the cluster. Do it?", err=True):
        tell("nothing was done")
        raise click.exceptions.Exit(1)


# -------------------------------------------------------------------------- declared commands


def _loader(declared: Command, plugins: Plugins) -> Callable[[], click.Command]:
    return lambda: _load(declared, plugins.distribution_of(declared))


def _load(declared: Command, distribution: str) -> click.Command:
    module, _, attribute = declared.load.partition(":")
    try:
        command = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise PluginError(
            f"the command {declared.name!r} of {distribution} cannot be loaded: {reason}"
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(f"{declared.load} of {distribution} is not a click command")
    return command
