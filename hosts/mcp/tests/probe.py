"""A plugin that prints wherever it can, and tools that wait, report and fail."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

from spark_core import Caller, Effect, Operation, Progress, hookimpl

print("probe is imported")  # noqa: T201


class Text(BaseModel):
    text: str = ""
    times: int = 1
    file: str = ""


class Length(BaseModel):
    length: int


def tell(file, what):
    with Path(file).open("a") as opened:
        opened.write(what + "\n")


async def measure(request: Text) -> Length:
    """Measure a text.

    Blanks count.

    :raises nothing: ever.
    """
    print("printed")  # noqa: T201
    sys.__stdout__.write("written past Python's own redirection\n")
    sys.__stdout__.flush()
    os.write(1, b"written by C\n")
    subprocess.run(["echo", "written by a child"], check=True)  # noqa: ASYNC221
    logging.getLogger("probe").warning("logged")
    read = sys.stdin.read()
    return Length(length=len(request.text) * request.times + len(read))


async def who(caller: Caller) -> Text:
    """Say who asks."""
    return Text(text=caller.name)


async def work(request: Text, progress: Progress) -> Length:
    """Work in two phases; with a file for ever, and tell that how it goes."""
    for phase in ("reading", "writing"):
        for done in range(3):
            progress.update(phase, done=done + 1, total=3)
            await asyncio.sleep(0)
    if request.file:
        tell(request.file, "begun")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(3):  # cleaning up takes its time, and is let to
                await asyncio.sleep(0.01)
            tell(request.file, "ended")
    return Length(length=0)


async def fail(request: Text) -> Length:
    """Fail with the caller's text."""
    raise RuntimeError(request.text)


async def stop(request: Text) -> Length:
    """Cancel itself."""
    raise asyncio.CancelledError


async def repeat(request: Text) -> Text:
    """Repeat a text."""
    return Text(text=request.text * request.times)


async def change(request: Text) -> Length:
    """Change something for good."""
    return Length(length=0)


async def touch(request: Text) -> Length:
    """Touch the cluster."""
    return Length(length=0)


@hookimpl
def spark_register_operations():
    return [
        Operation("probe.measure", measure, Effect.READ, tool="measure"),
        *(Operation(f"probe.{f.__name__}", f, Effect.READ, tool=True) for f in (who, work, fail)),
        Operation("probe.stop", stop, Effect.READ, tool=True),
        Operation("probe.repeat", repeat, Effect.READ, tool=True),
        Operation("probe.change", change, Effect.WRITE, method="PUT", tool=True),
        Operation("probe.touch", touch, Effect.OPERATE),
    ]
