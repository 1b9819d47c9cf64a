"""A client that leaves is noticed: its backend stops, and its place is free for others."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Callable

import pytest
from spark_core_lab.running import Lab

from .conftest import PATIENCE, Serve, Served, eventually, urls

pytestmark = pytest.mark.anyio


def request(path: str, body: bytes, length: int | None = None) -> bytes:
    """A request with *body*, whose length may be said to be another one."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length or len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + body


def chat(*, stream: bool = True) -> bytes:
    fields = {"model": "lab/echo", "stream": stream, "messages": [{"role": "user", "content": "a"}]}
    return request("/v1/chat/completions", json.dumps(fields).encode())


class Caller:
    """A client that leaves when it wants to."""

    def __init__(self, server: Served) -> None:
        self._server = server

    async def send(self, data: bytes) -> Caller:
        self.reader, self._writer = await self._server.open()
        self._writer.write(data)
        return self

    def leave(self, *, reset: bool = False) -> None:
        if reset:
            there = self._writer.get_extra_info("socket")
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


async def until(lab: Lab, holds: Callable[[Lab], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        await lab.vllm.until(lambda _: holds(lab))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_head(
    lab: Lab, server: Served, stream: bool, reset: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.vllm.knobs.work_seconds = 60
    caller = await Caller(server).send(chat(stream=stream))
    await until(lab, lambda lab: lab.vllm.in_flight == 1)
    left = time.monotonic()
    caller.leave(reset=reset)
    await until(lab, lambda lab: lab.vllm.cancelled == 1)
    with capsys.disabled():
        print(f" cancelled {(time.monotonic() - left) * 1e3:.0f} ms after", end="")
    await server.until_free()


async def test_item_16_within_the_answer(
    lab: Lab, server: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.vllm.knobs.turn({"token_seconds": 0.02, "tokens": 3000})
    caller = await Caller(server).send(chat())
    await caller.reader.readuntil(b"data: ")
    left = time.monotonic()
    caller.leave()
    await until(lab, lambda lab: lab.vllm.cancelled == 1)
    with capsys.disabled():
        print(f" cancelled {(time.monotonic() - left) * 1e3:.0f} ms after", end="")
    await server.until_free()


async def test_in_the_queue(lab: Lab, server: Served) -> None:
    """It never comes to the backend."""
    lab.vllm.knobs.work_seconds = 60
    working = [await Caller(server).send(chat()) for _ in range(3)]
    await until(lab, lambda lab: lab.vllm.in_flight == 3)
    waiting = [await Caller(server).send(chat()) for _ in range(4)]
    await eventually(server.waiting, lambda count: count == 4)
    for caller in waiting:
        caller.leave()
    await eventually(server.waiting, lambda count: count == 0)
    for caller in working:
        caller.leave()
    await until(lab, lambda lab: lab.vllm.cancelled == 3)
    assert lab.vllm.requests == 3
    await server.until_free()


@pytest.mark.parametrize("size", [1, 3_000_000])
async def test_within_an_upload(lab: Lab, server: Served, size: int) -> None:
    """The backend never takes what came for the whole."""
    upload = request("/v1/audio/transcriptions", b"x" * size, 10_000_000)
    caller = await Caller(server).send(upload)
    async with asyncio.timeout(PATIENCE):
        await lab.parakeet.until(lambda parakeet: parakeet.in_flight == 1)
        await caller._writer.drain()
        caller.leave()
        await lab.parakeet.until(lambda parakeet: parakeet.cancelled == 1)
    assert not lab.parakeet.recent
    await server.until_free()


async def test_within_an_upload_that_waits_for_its_turn(lab: Lab, server: Served) -> None:
    lab.kokoro.knobs.work_seconds = 60
    speech = request("/v1/audio/speech", b'{"model": "kokoro", "input": "a"}')
    working = [await Caller(server).send(speech) for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        await lab.kokoro.until(lambda kokoro: kokoro.in_flight == 2)
        caller = await Caller(server).send(request("/v1/audio/transcriptions", b"x" * 9, 100))
        await eventually(server.waiting, lambda count: count == 1)
        caller.leave()
        await eventually(server.waiting, lambda count: count == 0)
        for each in working:
            each.leave()
        await lab.kokoro.until(lambda kokoro: kokoro.cancelled == 2)
    assert lab.parakeet.requests == 0
    await server.until_free()


async def test_at_every_moment_nothing_is_left_behind(lab: Lab, server: Served) -> None:
    """After each byte of the request, and after each line of the answer."""
    lab.vllm.knobs.turn({"tokens": 4, "token_seconds": 0.001})
    data = chat().replace(b"Host: localhost", b"Host: localhost\r\nConnection: close")
    for cut in range(0, len(data), 7):
        (await Caller(server).send(data[:cut])).leave(reset=cut % 2 == 0)
    for lines in range(40):
        caller = await Caller(server).send(data)
        for _ in range(lines):
            await caller.reader.readline()
        caller.leave(reset=lines % 2 == 0)
    await until(lab, lambda lab: lab.vllm.in_flight == 0)
    await server.until_free()
    caller = await Caller(server).send(data)
    await caller.reader.readuntil(b"data: [DONE]\n\n")
    caller.leave()


@pytest.fixture(scope="module")
async def four(stand_ins: Lab, serve: Serve) -> Served:
    """Four workers; vLLM works on three requests at once, and what does sound on two."""
    return serve(urls(stand_ins).replace("[plugins.vllm]", "[plugins.vllm]\nlimit = 3"), workers=4)


async def test_limits_hold_over_all_workers_also_where_clients_leave(
    lab: Lab, four: Served
) -> None:
    """Counted where it matters: at the backends, those that do sound together."""
    chance = random.Random(7)
    lab.vllm.knobs.turn({"tokens": 3, "token_seconds": 0.002})
    lab.kokoro.knobs.work_seconds = lab.parakeet.knobs.work_seconds = 0.005
    most = 0

    def look(_: object) -> bool:
        nonlocal most
        most = max(most, lab.kokoro.in_flight + lab.parakeet.in_flight)
        return False

    looking = [asyncio.create_task(each.until(look)) for each in (lab.kokoro, lab.parakeet)]
    speech = request("/v1/audio/speech", b'{"model": "kokoro", "input": "a"}')
    transcript = request("/v1/audio/transcriptions", b"no form")

    async def call(data: bytes) -> None:
        caller = await Caller(four).send(data)
        try:
            async with asyncio.timeout(chance.choice([0.005, 0.02, 0.1, PATIENCE])):
                await caller.reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            pass
        caller.leave(reset=chance.random() < 0.5)

    kinds = (chat(), chat(stream=False), speech, transcript)
    async with asyncio.timeout(60):
        await asyncio.gather(*[call(kinds[n % 4]) for n in range(400)])
    await four.until_free()
    for task in looking:
        task.cancel()
    assert lab.vllm.peak == 3
    assert most == 2


async def test_a_slow_reader_keeps_no_place_when_the_backend_is_done(
    lab: Lab, server: Served
) -> None:
    """An answer of a megabyte, of which nothing is read."""
    body = json.dumps({"model": "BAAI/bge-m3", "input": ["a"] * 64, "encoding_format": "float"})
    caller = await Caller(server).send(request("/v1/embeddings", body.encode()))
    caller._writer.transport.pause_reading()
    async with asyncio.timeout(PATIENCE):
        await lab.bge_m3.until(lambda b: b.requests == 1 and b.in_flight == 0)
    await server.until_free()
    caller._writer.transport.resume_reading()
    head = await caller.reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert length > 500_000
    assert len(await caller.reader.readexactly(length)) == length
    caller.leave()
