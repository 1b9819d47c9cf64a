"""Session processors of the tests' own, good and bad; each runs in a process of its own.

What they see they write to a file named by ``SEEN`` in the environment, one JSON line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from spark_core import hookimpl
from spark_core.contracts.sessions import ProcessorResult, SessionFile, SessionProcessor

_COUNTS: dict[str, object] = {"object": object(), "huge": 10**6000, "less": -1}


def note(name: str, session: SessionFile, new: list[object]) -> None:
    line = {"by": name, "key": session.key, "start": session.start, "new": new, "pid": os.getpid()}
    with open(os.environ["SEEN"], "a") as file:
        file.write(json.dumps(line) + "\n")


async def count(session: SessionFile) -> ProcessorResult:
    new = [record.get("n") for record in session.records(new=True)]
    note("count", session, new)
    return ProcessorResult(len(new))


async def sum_up(session: SessionFile) -> ProcessorResult:
    note("sum", session, [])
    return ProcessorResult(1)


async def empty(session: SessionFile) -> ProcessorResult:
    note("empty", session, [])
    return ProcessorResult()


async def wrong(session: SessionFile) -> str:
    note("wrong", session, [])
    return "not a result"


async def bad(session: SessionFile) -> ProcessorResult:
    """What the first record says."""
    record = next(session.records(new=True))
    note("bad", session, [record.get("do")])
    if record.get("do") == "hang":
        await asyncio.sleep(3600)
    _do(str(record.get("do")), session)
    return ProcessorResult(_COUNTS.get(str(record.get("do")), 1))  # type: ignore[arg-type]


def _do(what: str, session: SessionFile) -> None:
    if what == "raise":
        raise ValueError(f"private: {session.key} said it in confidence")
    if what == "spin":
        while True:
            pass
    if what == "block":
        time.sleep(3600)
    if what == "exit":
        os._exit(7)
    if what == "sysexit":
        sys.exit(3)
    if what == "allocate":
        hoard = [bytearray(64 * 1024**2) for _ in range(160)]  # 10 GB
        assert not hoard
    if what == "abort":
        os.abort()
    if what == "print":
        print('{"items": 1000}' * 100_000, flush=True)  # noqa: T201
        os.write(1, b"garbage\n")
    if what == "signal":
        os.kill(os.getpid(), signal.SIGRTMIN + 3)  # one that has no name
        time.sleep(3600)
    if what == "daemon" and os.fork() == 0:
        os.setsid()  # nobody finds it, and it has the pipes
        Path(os.environ["SEEN"]).with_name("child").write_text(str(os.getpid()))
        time.sleep(3600)
    if what == "daemon":
        time.sleep(3600)
    if what == "children":
        child = subprocess.Popen(["sleep", "3600"])
        Path(os.environ["SEEN"]).with_name("child").write_text(str(child.pid))
        time.sleep(3600)


@hookimpl
def spark_register_session_processors():
    return [
        SessionProcessor("count", "every 10m", "sample_processors:count"),
        SessionProcessor("sum", "every 10m", "sample_processors:sum_up"),
        SessionProcessor("empty", "every 10m", "sample_processors:empty"),
        SessionProcessor("wrong", "every 10m", "sample_processors:wrong"),
        SessionProcessor("bad", "every 10m", "sample_processors:bad", file_timeout=1.5),
        SessionProcessor(
            "short", "every 10m", "sample_processors:bad", timeout=3.0, file_timeout=1.0
        ),
        SessionProcessor("greedy", "every 10m", "sample_processors:bad"),
        SessionProcessor("never", "every 10m", "sample_unborn:process"),
    ]
