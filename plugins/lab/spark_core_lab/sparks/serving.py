"""Runs the lab's vLLM in this process: ``serving.py PORT KNOBS NAME...``"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import Sequence

import spark_core_lab
from spark_core_lab.sparks.vllm import crash_if_told, say

__all__ = ["main"]


async def main(words: Sequence[str]) -> None:
    """Serve until a signal comes."""
    port, knobs, *names = words
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with spark_core_lab.start(
        "vllm", ports={"vllm": int(port)}, models=names, **json.loads(knobs)
    ):
        say("Application startup complete.")
        while not stopped.is_set():
            crash_if_told()
            try:
                await asyncio.wait_for(stopped.wait(), 0.05)
            except TimeoutError:
                continue


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"OSError: [Errno {errno.EADDRINUSE}] Address already in use", flush=True)
        os._exit(1)
