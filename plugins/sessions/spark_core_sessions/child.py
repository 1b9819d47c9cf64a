"""The process of one processor: it is given files, one after the other, and may be killed.

It speaks JSON lines over the two pipes that it was started with; what the processor prints goes
nowhere. Its memory is limited before anything of the processor is imported. It ends when its
parent does.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import inspect
import json
import operator
import os
import pickle
import resource
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from spark_core.contracts.sessions import ProcessorResult, SessionChanged, SessionFile
from spark_core.errors import SparkError
from spark_core.plugins import Plugin, Plugins
from spark_core.references import resolved
from spark_core.sources import Source
from spark_core.spark import Spark, compose

__all__ = ["Start", "current"]

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Start:
    """What a child is told first. ``plugins`` are the name, the distribution, the version and
    the module of each."""

    source: Source
    plugins: tuple[tuple[str, str, str, str], ...]
    processor: str
    memory: int
    path: tuple[str, ...]
    parent: int


def main() -> None:
    """Read what to do, and do it until there is no more."""
    asked, answers = _own_pipes()
    start = pickle.load(asked)
    _limit(start)
    asyncio.run(_serve(start, asked, answers))


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes, under numbers of their own: what the processor prints must not come between."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
    return asked, answers


def _limit(start: Start) -> None:
    with suppress(OSError, AttributeError):  # only Linux ends a child with its parent
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != start.parent:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold what people wrote
    resource.setrlimit(resource.RLIMIT_AS, (start.memory, start.memory))
    with suppress(OSError):  # rather this than the host, should the machine run out of memory
        Path("/proc/self/oom_score_adj").write_text("800")
    sys.path[:] = start.path


async def _serve(start: Start, asked: IO[bytes], answers: IO[bytes]) -> None:
    try:
        spark = _composed(start)
        found = {p.name: p for p in spark.plugins.session_processors()}
        process = resolved(found[start.processor].process)
    except BaseException as error:
        return _answer(answers, {"error": _told(error)})
    try:
        _answer(answers, {})
        while line := await asyncio.to_thread(asked.readline):
            _answer(answers, await _done(spark, process, json.loads(line)))
    finally:
        await spark.resolver.aclose()


def _composed(start: Start) -> Spark:
    plugins = Plugins(
        (Plugin(n, d, v, module=importlib.import_module(m)) for n, d, v, m in start.plugins),
        examined=False,
    )
    return compose(start.source, plugins=plugins)


async def _done(spark: Spark, process: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """What came of one file; whatever the processor raises is told, and no more."""
    session = SessionFile(**{**asked, "path": Path(asked["path"])})
    try:
        result = process(**await spark.resolver.fill(process, {SessionFile: session}))
        if inspect.isawaitable(result):
            result = await result
        return {"items": _count(result)}
    except SessionChanged:
        return {"changed": True}
    except BaseException as error:
        return {"error": _told(error)}


def _count(result: Any) -> int:
    """What returns something else did its work all the same: it found nothing."""
    try:
        count = operator.index(result.items_count) if isinstance(result, ProcessorResult) else 0
    except TypeError:
        return 0
    return count if 0 <= count < 2**62 else 0


def _told(error: BaseException) -> str:
    """What and where: the text of an error that is not ours may quote a session."""
    kind = type(error).__name__
    if isinstance(error, SparkError):
        return f"{kind}: {error.message}"[:300]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"{kind}{where}"[:300]


def _answer(answers: IO[bytes], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def current(source: Source) -> Source:
    """*source* as its file says by now: what was set since then counts."""
    if source.file is None:
        return source
    return Source.read(source.file, source.environ)
