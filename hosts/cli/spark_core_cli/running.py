"""Runs one operation from start to end, as one process."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, redirect_stdout

from pydantic import BaseModel

from spark_core.operations import Operation, Progress
from spark_core.spark import Spark

from .progress import shown
from .results import results_only

__all__ = ["Unexpected", "run"]


class Unexpected(Exception):
    """An error of the system that nobody translated; its cause says which.

    click takes an ``OSError`` for a closed pipe and an ``EOFError`` for the end of input, and
    says nothing. Those of an operation are neither.
    """


def run(
    spark: Spark, operation: Operation, request: BaseModel, show: Callable[[BaseModel], None]
) -> None:
    """Run *operation* and *show* its events as they come, or its result at the end.

    Nothing else reaches standard output, whatever the operation prints.

    :raises KeyboardInterrupt: Ctrl-C or SIGTERM; the operation was cancelled and has ended.
    :raises SparkError: whatever the operation raises.
    """
    results: list[BaseModel] = []
    with shown(operation) as progress, results_only() as output:

        def show_event(event: BaseModel) -> None:
            with redirect_stdout(output):
                show(event)

        take = show_event if operation.streams else results.append
        try:
            asyncio.run(_consume(spark, operation, request, progress, take))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    for result in results:
        show(result)


async def _consume(
    spark: Spark,
    operation: Operation,
    request: BaseModel,
    progress: Progress | None,
    take: Callable[[BaseModel], None],
) -> None:
    task = asyncio.current_task()
    assert task is not None
    # asyncio itself does the same with SIGINT.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with aclosing(_events(spark, operation, request, progress)) as events:
            async for event in events:
                take(event)
    finally:
        await spark.resolver.aclose()


async def _events(
    spark: Spark, operation: Operation, request: BaseModel, progress: Progress | None
) -> AsyncGenerator[BaseModel, None]:
    stream = spark.stream(operation, request, caller=f"cli {_user()}", progress=progress)
    try:
        async with aclosing(stream):
            async for event in stream:
                yield event
    except (OSError, EOFError) as error:
        raise Unexpected from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"
