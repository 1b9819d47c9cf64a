"""A stand-in for ``vllm serve``: it loads for as long as it is told, then it is the lab's vLLM."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .place import fault, here, take_memory, write_json

__all__ = ["main"]

GIB_OF_A_MODEL = 60.0


def say(text: str) -> None:
    """Write a line as vLLM does."""
    print(f"(EngineCore_DP0 pid={os.getpid()}) INFO {text}", flush=True)


def option(words: Sequence[str], name: str, default: str) -> list[str]:
    """What follows the option *name*, up to the next one."""
    for at, word in enumerate(words):
        if word == name:
            values = []
            for value in words[at + 1 :]:
                if value.startswith("--"):
                    break
                values.append(value)
            return values
        if word.startswith(f"{name}="):
            return [word.partition("=")[2]]
    return [default]


def main(words: Sequence[str]) -> int:
    """``vllm``"""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    write_json(here() / "received", {"arguments": list(words), "environment": dict(os.environ)})
    model = words[1]
    say(f"[lab stand-in] Initializing a V1 LLM engine with config: model={model!r}")
    taken = fault("model_gib")
    take_memory(GIB_OF_A_MODEL if taken is None else taken)
    load(model)
    if "--headless" in words:
        say("headless: waiting for the head")
        while True:
            crash_if_told()
            time.sleep(0.02)
    port = int(option(words, "--port", "8000")[0])
    names = [name for name in option(words, "--served-model-name", model) if name]
    return serve(port, names)


def load(model: str) -> None:
    """Be busy, as a model is that is read from the disk; all faults are looked at."""
    say(f"Starting to load model {model}...")
    began = time.monotonic()
    shown = -1
    while True:
        crash_if_told(time.monotonic() - began)
        passed = (time.monotonic() - began) / (fault("load_seconds") or 0.001)
        percent = min(int(passed * 4) * 25, 75) if fault("loads_for_ever") else int(passed * 4) * 25
        if min(percent, 100) != shown:
            shown = min(percent, 100)
            say(f"Loading safetensors checkpoint shards: {shown:3}% Completed")
        if shown == 100:
            return
        time.sleep(0.01)


def crash_if_told(passed: float = float("inf")) -> None:
    """End as the fault ``crash`` says: ``{"after": seconds, "exit": code, "lines": [...]}``."""
    told: dict[str, Any] | None = fault("crash")
    if told is not None and passed >= told.get("after", 0.0):
        print(*told.get("lines", ()), sep="\n", flush=True)
        os._exit(told.get("exit", 1))


def serve(port: int, names: Sequence[str]) -> int:
    """Be the lab's vLLM, from here on with all that is installed."""
    # This was begun without site packages, to be quick; the server needs them.
    program = Path(__file__).with_name("serving.py")
    knobs = json.dumps(fault("knobs") or {})
    words = [sys.executable, str(program), str(port), knobs, *names]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    os.execve(sys.executable, words, environment)
