"""A processor in a process of its own: what it does there is done to nobody else.

Whatever a processor does, it is over when its time is: its process is killed with all that it
started, and the next file gets a new one.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from spark_core import Spark
from spark_core.contracts.sessions import SessionFile
from spark_core.errors import PluginError

from .child import Start, current

__all__ = ["Failed", "Isolated", "Postponed", "isolated"]

#: Seconds that a process may take to begin.
START_SECONDS: Final = 60.0

#: The longest answer, in bytes.
_LONGEST: Final = 64 * 1024


class Failed(Exception):
    """The processor failed with a file; its text says how, and quotes nothing of it."""


class Postponed(Exception):
    """The file changed while it was read."""


@dataclass
class Isolated:
    """The process of a processor, started when it is first needed and after each that ended."""

    start: Start
    _process: asyncio.subprocess.Process | None = None

    async def process(self, session: SessionFile, limit_s: float) -> int:
        """How many items *session* gave.

        :raises Failed: it failed, or did not end within *limit_s* seconds.
        :raises Postponed: the file changed meanwhile.
        :raises PluginError: it cannot even begin.
        """
        child = await self._running()
        asked = json.dumps({**asdict(session), "path": os.fspath(session.path)})
        try:
            async with asyncio.timeout(limit_s):
                return _items(await self._ask(child, asked.encode()))
        except TimeoutError:
            await self.end()
            raise Failed(f"it did not end within {limit_s:.3g} s and was killed") from None
        except BaseException:  # what failed may have left anything behind
            await self.end()
            raise

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None:
            return self._process
        child = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-c", "from spark_core_sessions.child import main; main()"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # so that all that it starts can be killed with it
            limit=_LONGEST,
            # Else each thread's arena counts against its memory.
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                _items(await self._ask(child, pickle.dumps(self.start), end=b""))
        except (TimeoutError, Failed) as error:
            await self.end()
            reason = str(error) or f"it took more than {START_SECONDS:.0f} s"
            raise PluginError(
                f"session processor {self.start.processor} cannot begin: {reason}"
            ) from None
        except BaseException:
            await self.end()
            raise
        return child

    async def _ask(
        self, child: asyncio.subprocess.Process, asked: bytes, *, end: bytes = b"\n"
    ) -> dict[str, Any]:
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(ConnectionError):  # how it ended is known in a moment
            child.stdin.write(asked + end)
            await child.stdin.drain()
        try:
            answer = json.loads(await child.stdout.readline() or "null")
        except ValueError:
            raise Failed("its process answered with something else") from None
        if not isinstance(answer, dict):
            raise Failed(await self._how_it_ended(child))
        return answer

    async def _how_it_ended(self, child: asyncio.subprocess.Process) -> str:
        try:
            async with asyncio.timeout(5):
                code = await child.wait()
        except TimeoutError:
            return "its process closed its pipe"
        if code < 0:
            return f"its process was ended by {_name(-code)}"
        return f"it ended its process with exit code {code}"

    async def end(self) -> None:
        """Kill the process, with all that it started, and see it gone."""
        child, self._process = self._process, None
        if child is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        if child.stdin is not None:
            child.stdin.close()
        # Else its end would be waited for as long as anything has its pipe: what it started and
        # cannot be found.
        pipe = child._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        if pipe is not None:
            pipe.close()
        await asyncio.shield(child.wait())


def _name(number: int) -> str:
    """The name of a signal, where it has one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _items(answer: dict[str, Any]) -> int:
    if answer.get("changed"):
        raise Postponed
    if "error" in answer:
        raise Failed(str(answer["error"]))
    items = answer.get("items")
    return items if isinstance(items, int) and 0 <= items < 2**62 else 0


@asynccontextmanager
async def isolated(spark: Spark, processor: str, memory: int) -> AsyncIterator[Isolated]:
    """*processor* in processes of its own, which may have *memory* bytes each."""
    plugins = tuple(
        (plugin.name, plugin.distribution, plugin.version, plugin.module.__name__)
        for plugin in spark.plugins
        if plugin.module is not None and plugin.status == "ok"
    )
    source = current(spark.settings.source)
    start = Start(source, plugins, processor, memory, tuple(sys.path), os.getpid())
    child = Isolated(start)
    try:
        yield child
    finally:
        await child.end()
