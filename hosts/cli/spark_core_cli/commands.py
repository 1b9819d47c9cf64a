"""The tree of commands: an operation's name says where its command is.

Where `search` and `search.similar` are both installed, `spark search` is the first, and
`spark search similar` the second: the next word is a command if it is exactly the name of one.
`spark search -- similar` searches for that word.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from spark_core.declarations import Command
from spark_core.errors import InvalidRequest, PluginError
from spark_core.operations import Effect, Operation
from spark_core.plugins import Plugins
from spark_core.references import resolved

from .installed import Installed
from .output import show, tell

__all__ = ["JSON_OPTION", "add_commands"]

#: ``--json``, for every command. A field of that name has another option.
JSON_OPTION = click.Option(["--json", "_json"], is_flag=True, help="Answer with JSON.")
_YES_OPTION = click.Option(["--yes", "_yes"], is_flag=True, help="Do not ask before it is done.")


class Deferred(click.Command):
    """A command that is known by its name and summary, and made when it is run."""

    def __init__(self, name: str, summary: str, make: Callable[[], click.Command]) -> None:
        super().__init__(name, help=summary)
        self.summary = summary
        self._make = make

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of the command itself, which is from now on in this one's place."""
        command = self._make()
        command.epilog = command.epilog or self.epilog
        return command.make_context(info_name, args, parent, **extra)


class Both(click.Group):
    """A command that is a group, too: the first word may name a command in it."""

    def __init__(self, own: click.Command) -> None:
        super().__init__(own.name)
        self.own = own

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of the group where *args* begin with a name in it, else of the command."""
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return self.own.make_context(info_name, args, parent, **extra)


@dataclass(frozen=True)
class _Leaf:
    """A command and where it stands in the tree; *distribution* offers it."""

    path: tuple[str, ...]
    distribution: str
    command: click.Command


def add_commands(root: click.Group, installed: Installed) -> None:
    """Put every installed operation and command into *root*, in groups as their names say.

    A place that two of them want is given to neither: its command says who they are.
    """
    places: dict[tuple[str, ...], list[_Leaf]] = {}
    for leaf in _leaves(installed):
        places.setdefault(leaf.path, []).append(leaf)
    for path in sorted(places):  # what is to be a group, too, comes before what is in it
        first, *others = places[path]
        if others:
            _group(root, path[:-1]).add_command(disputed := _disputed(path, places[path]))
            installed.warnings.append(disputed.summary)
        else:
            _group(root, path[:-1]).add_command(first.command)
    _describe_groups(root)


def _leaves(installed: Installed) -> Iterator[_Leaf]:
    plugins = installed.plugins
    for operation in plugins.operations():
        if not operation.command:
            continue
        path = tuple(operation.name.replace("_", "-").split("."))
        command = Deferred(path[-1], operation.summary, _maker(operation, installed))
        yield _Leaf(path, plugins.distribution_of(operation), command)
    for declared in plugins.commands():
        path = tuple(declared.name.split("."))
        command = Deferred(path[-1], declared.summary, _loader(declared, plugins))
        yield _Leaf(path, plugins.distribution_of(declared), command)


def _disputed(path: tuple[str, ...], leaves: list[_Leaf]) -> Deferred:
    """What stands in the place that all of *leaves* want."""
    names = " and ".join(leaf.distribution for leaf in leaves)
    summary = f"'spark {' '.join(path)}' is not available: {names} both offer it"

    def refuse() -> click.Command:
        raise PluginError(
            summary, hint="switch one of the plugins off: [plugins.NAME] enabled = false"
        )

    return Deferred(path[-1], summary, refuse)


def _group(root: click.Group, path: tuple[str, ...]) -> click.Group:
    """The group at *path*, made if it is not there."""
    group = root
    for name in path:
        found = group.commands.get(name) or click.Group(name)
        if not isinstance(found, click.Group):
            found = Both(found)
        group.add_command(found)
        group = found
    return group


def _describe_groups(root: click.Group) -> None:
    for command in root.commands.values():
        if isinstance(command, click.Group):
            command.help = ", ".join(command.commands)
            if isinstance(command, Both):
                command.own.epilog = f"Also: {command.help}."
                command.help = f"{(command.own.help or '').rstrip('.')}; also: {command.help}"
            _describe_groups(command)


# -------------------------------------------------------------------------------- operations


def _maker(operation: Operation, installed: Installed) -> Callable[[], click.Command]:
    return lambda: _command(operation, installed)


def _command(operation: Operation, installed: Installed) -> click.Command:
    # Imported for the one command that is run: to list all takes none of it.
    from spark_core.spark import check_request

    from .parameters import bind, gather, usage_error
    from .running import run

    resolved(operation.handler, installed.plugins.distribution_of(operation))
    bound = bind(operation)

    def callback(_json: bool, _yes: bool = False, **values: Any) -> None:
        try:
            request = check_request(operation, text=gather(bound, values))
            spark = installed.spark_for(operation)
            _warn(installed)
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


def _warn(installed: Installed) -> None:
    for warning in installed.warnings:
        tell(f"warning: {warning}")
    for plugin in installed.plugins.broken():
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
    command: object = resolved(declared.load, distribution)
    if not isinstance(command, click.Command):
        raise PluginError(f"{declared.load} of {distribution} is not a click command")
    return command
