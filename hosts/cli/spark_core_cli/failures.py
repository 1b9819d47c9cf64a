"""How a failure is told to a person, and the exit code it ends with."""

from __future__ import annotations

import sys
from typing import Final

import click

from spark_core.errors import InvalidRequest, SettingsError, SparkError

from .output import tell

__all__ = ["report"]

FAILED: Final = 1
MISUSE: Final = 2
INTERRUPTED: Final = 130  # as shells have it: 128 and the number of SIGINT


def report(error: BaseException, *, debug: bool) -> int:
    """Say on standard error what went wrong; with *debug* also where. Return the exit code."""
    from asyncio import CancelledError  # only here: what succeeds need not know it

    error = _itself(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return MISUSE
    if isinstance(error, click.Abort | KeyboardInterrupt | CancelledError):
        tell("interrupted")
        return INTERRUPTED
    if debug and not isinstance(error, click.ClickException):
        _print_traceback(error)
    return _explain(error)


def _itself(error: BaseException) -> BaseException:
    """The error that is meant: not what it is wrapped in on its way here."""
    from .running import Unexpected

    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _itself(error.exceptions[0])
    if isinstance(error, Unexpected) and error.__cause__ is not None:
        return error.__cause__
    return error


def _explain(error: BaseException) -> int:
    if isinstance(error, click.ClickException):
        tell(f"error: {error.format_message()}")
        if isinstance(error, click.UsageError) and error.ctx is not None:
            tell(f"hint: {error.ctx.command_path} --help")
        return error.exit_code
    if isinstance(error, SparkError):
        for line in error.message.splitlines():
            tell(f"error: {line}")
        if error.hint:
            tell(f"hint: {error.hint}")
        return MISUSE if isinstance(error, SettingsError | InvalidRequest) else FAILED
    first = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    tell(f"unexpected error: {first}; `spark --debug ...` shows where")
    return FAILED


def _print_traceback(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error, file=sys.stderr)
