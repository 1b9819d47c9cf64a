"""Asks the server what it must answer. A query that cannot be asked has failed."""

from __future__ import annotations

import re
from typing import Final

from spark_core.contracts.machines import Completed
from spark_core.errors import SparkError

from .models import Broken
from .places import Places
from .settings import PromotionSettings, Query

__all__ = ["ask"]

#: A program that cannot be run, or is not there; above, it was ended by a signal.
CANNOT: Final = (126, 127)
SIGNAL: Final = 128


async def ask(query: Query, places: Places, settings: PromotionSettings) -> None:
    """Run *query*.

    :raises Broken: it was not answered as it must be, or could not be asked.
    """
    variables = (f"ENGINE_SOCKET={settings.socket}", f"VERIFY_GRAPH={settings.graph}")
    command = ("env", *variables, *query.command)
    try:
        done = await places.run(query.on, command, timeout_s=query.timeout_s)
    except SparkError as error:
        raise Broken("verify", f"{query.name}: cannot be asked: {error.message}") from error
    if problem := _problem(query, done):
        raise Broken("verify", f"{query.name}: {problem}")


def _problem(query: Query, done: Completed) -> str:
    """What is wrong with the answer; it is not told, as it may be of private data."""
    if done.exit_code in CANNOT or done.exit_code > SIGNAL:
        return f"cannot be asked: {query.command[0]} ends with exit code {done.exit_code}"
    if query.rejected and done.exit_code == 0:
        return "it was answered, and had to be rejected"
    if not query.rejected and done.exit_code:
        return f"it failed with exit code {done.exit_code}"
    if query.expect and not re.search(query.expect, f"{done.stdout}\n{done.stderr}"):
        return "the answer is another one than expected"
    return ""
