"""Promotes, and kills itself with -9: killing.py CONFIG OPERATION PHASE before|after OPTION..."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from spark_core_promotion.history import History

import spark_core

config, operation, phase, moment, *options = sys.argv[1:]
reach = History.reach


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def reached(history: History, promotion: Any, now: Any, lease: Any) -> None:
    if now == phase and moment == "before":  # its work is done, and nobody wrote that down
        kill()
    await reach(history, promotion, now, lease)
    if now == phase:
        kill()


async def main() -> None:
    History.reach = reached  # type: ignore[method-assign]
    request = {"name": "engine", **dict.fromkeys(options, True)}
    async with spark_core.open(Path(config)) as spark:
        async for event in spark.stream(operation, request):
            sys.stdout.write(f"{getattr(event, 'text', '')}\n")


asyncio.run(main())
