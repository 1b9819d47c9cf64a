"""What a supervisor is told, and what happens to a scheduler that stands still."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from spark_core_scheduler.health import telling
from spark_core_scheduler.leading import Pulse

from spark_core.listening import listen


async def ask(pulse: Pulse, limit: float, request: bytes) -> bytes:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        async with telling(listener, pulse, limit):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer


GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.anyio
async def test_e6_what_was_not_seen_at_work_is_stuck() -> None:
    """200 while it is at work, 503 when it was not for longer than the limit."""
    pulse = Pulse()
    pulse.beat("leader", 3)
    head, _, body = (await ask(pulse, 60, GET)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    told = json.loads(body)
    assert (told["status"], told["role"], told["running"]) == ("ok", "leader", 3)
    pulse.beaten_at -= 61
    assert (await ask(pulse, 60, GET)).startswith(b"HTTP/1.1 503 ")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "request_", [b"\r\n\r\n", b"POST /health HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_anything_else_is_not_found(request_: bytes) -> None:
    assert (await ask(Pulse(), 60, request_)).startswith(b"HTTP/1.1 404 ")


@pytest.mark.anyio
async def test_too_much_is_not_read() -> None:
    assert await ask(Pulse(), 60, b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n") == b""


def test_e6_a_scheduler_that_stands_still_ends_itself() -> None:
    """Whatever blocks it cannot be cancelled, and must not go on under another one's lease."""
    code = """
import asyncio, time
from spark_core_scheduler.command import _watch

async def main():
    task = asyncio.create_task(_watch(0.5))
    await asyncio.sleep(0)
    time.sleep(60)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "in main" in done.stderr  # it is told where it stood
