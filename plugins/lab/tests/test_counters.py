"""What is counted, and what a test can wait for."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
from contextlib import suppress

import httpx
import pytest
import spark_core_lab
from spark_core_lab.answers import Stream
from spark_core_lab.backend import Backend
from spark_core_lab.knobs import Knobs
from spark_core_lab.server import StandIn

pytestmark = pytest.mark.anyio

ASKED = {"model": "lab/echo", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"


def port_of(stand_in):
    return int(stand_in.url.rpartition(":")[2])


async def test_work_and_probes_are_counted_apart(lab, http):
    for _ in range(2):
        await http.post(lab.vllm.url + CHAT, json=ASKED)
    for path in ("/health", "/v1/models", "/nowhere"):
        await http.get(lab.vllm.url + path)
    assert (lab.vllm.requests, lab.vllm.counters.probes, lab.vllm.in_flight) == (2, 3, 0)
    assert lab.kokoro.requests == 0


async def test_peak_is_the_most_at_once(lab, http):
    lab.vllm.knobs.work_seconds = 3600
    asking = [asyncio.create_task(http.post(lab.vllm.url + CHAT, json=ASKED)) for _ in range(3)]
    await lab.vllm.until(lambda v: v.in_flight == 3)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await lab.vllm.until(lambda v: v.in_flight == 0)
    assert (lab.vllm.requests, lab.vllm.peak, lab.vllm.cancelled) == (3, 3, 3)
    assert lab.vllm.backend.gpu.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_gpu(lab, http, stream):
    """Whether it waited for the whole answer, or had got some of it."""
    vllm = lab.vllm
    vllm.knobs.token_seconds = 3600
    body = {**ASKED, "stream": stream}
    asking = asyncio.create_task(http.post(vllm.url + CHAT, json=body))
    await vllm.until(lambda v: v.backend.gpu.running == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await vllm.until(lambda v: v.cancelled == 1 and v.backend.gpu.running == 0)
    assert vllm.backend.engine.totals["abort"] == 1


async def test_a_client_that_leaves_is_not_complained_of(http, caplog):
    """Even where that is noticed in the midst of writing to it."""

    class Leaving(Backend):
        name = "leaving"

        def routes(self):
            return {("POST", "/"): self.answer}

        async def answer(self, call):
            return Stream(self.pieces())

        async def pieces(self):
            yield b"begun"
            stand_in.faults.set("refuse")  # which resets the connection
            yield b"too late"

    async with StandIn(Leaving(Knobs()), "127.0.0.1", 0).serving() as stand_in:
        with pytest.raises(httpx.TransportError):
            await http.post(stand_in.url)
        await stand_in.until(lambda s: s.in_flight == 0)
        assert stand_in.cancelled == 1
    assert not caplog.records


async def test_one_who_has_got_everything_has_not_left(lab, http):
    body = {**ASKED, "stream": True}
    await http.post(lab.vllm.url + CHAT, json=body, headers={"connection": "close"})
    await lab.vllm.until(lambda v: v.in_flight == 0)
    assert lab.vllm.cancelled == 0


async def test_the_last_calls_are_remembered(lab, http):
    await http.post(lab.vllm.url + CHAT + "?a=b", json=ASKED, headers={"x-request-id": "abc"})
    call = lab.vllm.recent[-1]
    assert (call.path, call.query["a"], call.headers["X-Request-Id"]) == (CHAT, "b", "abc")
    assert b"hello" in call.body


async def test_a_request_id_comes_back(lab, http):
    """As vLLM makes its answer's id from it."""
    headers = {"x-request-id": "abc"}
    answer = await http.post(lab.vllm.url + CHAT, json=ASKED, headers=headers)
    assert answer.json()["id"] == "chatcmpl-abc"


async def test_counters_are_told_and_forgotten_over_http(lab, http):
    await http.post(lab.vllm.url + CHAT, json=ASKED)
    told = (await http.get(f"{lab.vllm.url}/__lab__/")).json()
    assert (told["stand_in"], told["counters"]["requests"]) == ("vllm", 1)
    await http.delete(f"{lab.vllm.url}/__lab__/counters")
    assert lab.vllm.requests == 0


async def test_a_taken_port_is_an_error_and_leaves_nothing_open():
    async with spark_core_lab.start("kokoro") as lab:
        port = port_of(lab.kokoro)
        with pytest.raises(OSError, match="in use"):
            async with spark_core_lab.start("vllm", "bge_m3", ports={"bge_m3": port}):
                pass
    gc.collect()  # an open socket would be a warning here, and so an error


async def test_leaving_hangs_up_on_who_is_still_there(http):
    async with spark_core_lab.start("vllm", work_seconds=3600) as lab:
        asking = asyncio.create_task(http.post(lab.vllm.url + CHAT, json=ASKED))
        await lab.vllm.until(lambda v: v.in_flight == 1)
    [error] = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(error, Exception)


async def test_too_many_connections_wait_for_their_turn(lab, caplog):
    """Where no more files may be open nobody is turned away, and nothing is complained of."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(20)]
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, hard))
    try:
        for client in clients:
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(("127.0.0.1", port_of(lab.vllm)))
        for _ in range(3):  # turns of the loop
            await asyncio.sleep(0)
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    loop = asyncio.get_running_loop()
    for client in clients:
        await loop.sock_sendall(client, b"GET /health HTTP/1.0\r\n\r\n")
        assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.0 200")
        client.close()
    assert not caplog.records


async def test_only_what_is_named_runs():
    async with spark_core_lab.start("kokoro", "bge_m3") as lab:
        assert set(lab.all) == {"kokoro", "bge_m3"}
    with pytest.raises(KeyError):
        async with spark_core_lab.start("tts"):
            pass


async def test_what_works_on_sound_is_counted_together() -> None:
    """It shares a GPU, whose limit is for both."""
    async with spark_core_lab.start("parakeet", "kokoro", "vllm") as lab:
        lab.kokoro.faults.set("hang")
        async with httpx.AsyncClient() as client:
            speech = {"model": "kokoro", "input": "a", "voice": "af_heart"}
            speaking = asyncio.create_task(
                client.post(f"{lab.kokoro.url}/v1/audio/speech", json=speech)
            )
            await lab.kokoro.until(lambda kokoro: kokoro.in_flight == 1)
            await client.post(f"{lab.parakeet.url}/v1/audio/transcriptions")
            await client.post(f"{lab.vllm.url}/v1/chat/completions", json={})
            speaking.cancel()
    assert [s.counters.peak_together for s in (lab.kokoro, lab.parakeet, lab.vllm)] == [1, 2, 1]
    assert lab.parakeet.peak == 1
