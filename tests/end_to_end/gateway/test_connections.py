"""Clients that are slow, many, large or rude, and a server that stops under them."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from spark_core_lab.running import Lab

from ...scripted import Peer, answer
from .conftest import PATIENCE, Backend, Serve, Served, eventually, exchange, urls
from .test_leaving import chat, request

pytestmark = pytest.mark.anyio

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

#: A head must come within 0.3 seconds, and any piece of a body within one.
IMPATIENT = """
import spark_core_http.worker, spark_core_http.serve as serve

spark_core_http.worker.HEAD_SECONDS = 0.3
usual = serve.options

def options(*given):
    found = usual(*given)
    def post_fork(server, worker):
        found["post_fork"](server, worker)
        worker.cfg.set("timeout", 1)  # here only: the master uses it to tell dead workers
    return {**found, "post_fork": post_fork}

serve.options = options
"""


@pytest.fixture(scope="module")
async def impatient(scripted: Backend, serve: Serve) -> Served:
    """A server that waits for nobody."""
    url = scripted.served.url
    toml = f'[plugins.vllm]\nurl = "{url}"\nmodels = ["m"]\n[plugins.parakeet]\nurl = "{url}"\n'
    return serve(toml, workers=1, change=IMPATIENT)


@pytest.mark.parametrize("sent", [b"", b"POST / HT", HEALTH[:-2]])
async def test_a_head_that_does_not_come_in_time(impatient: Served, sent: bytes) -> None:
    assert (await exchange(impatient, sent)).startswith(b"HTTP/1.1 408 ")


async def test_a_second_head_that_does_not_come_in_time(impatient: Served) -> None:
    reader, writer = await impatient.open()
    writer.write(HEALTH)
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    writer.write(HEALTH[:9])
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_head_that_comes_byte_by_byte_has_no_more_time(impatient: Served) -> None:
    reader, writer = await impatient.open()
    coming = asyncio.create_task(reader.read())
    for byte in HEALTH * 100:
        writer.write(bytes([byte]))
        done, _ = await asyncio.wait([coming], timeout=0.05)
        if done:
            break
    assert coming.result().startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/audio/transcriptions"])
async def test_a_body_that_stops_coming_is_answered_and_passes_for_nothing(
    backend: Backend, impatient: Served, path: str
) -> None:
    came = await exchange(impatient, request(path, b'{"model": "m"}', 100))
    head, _, body = came.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "incomplete"' in body
    assert backend.bodies == []
    await impatient.until_free()


@pytest.mark.parametrize("value", [b"a\0b", b"a\x01b", b"a\x7fb", b"a\rb", b"a\nb", b"a\r\n b: c"])
async def test_control_characters_in_headers(
    backend: Backend, impatient: Served, value: bytes
) -> None:
    data = request("/v1/chat/completions", b'{"model": "m"}')
    wrong = b"\r\nConnection: close\r\nX: " + value + b"\r\n\r\n"
    came = await exchange(impatient, data.replace(b"\r\n\r\n", wrong))
    assert came.startswith(b"HTTP/1.1 400 ")
    assert backend.heads == []


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Content-Length: +3",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: \x0bchunked",
    ],
)
async def test_framing_that_can_be_understood_in_two_ways(
    backend: Backend, impatient: Served, framing: bytes
) -> None:
    """Or a request could be hidden in another one's body."""
    data = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n" + framing
    came = await exchange(impatient, data + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert came[9:10] in (b"4", b"5")
    assert backend.bodies == []


# ------------------------------------------------------------------------------------ stopping


@pytest.mark.parametrize("twice", [False, True])
async def test_a_stop_lets_streams_finish_and_idle_connections_go(
    lab: Lab, serve: Serve, twice: bool
) -> None:
    """Service managers tell each process to stop, and the master tells its workers again."""
    server = serve(urls(lab) + "\n[http]\ngraceful_timeout_s = 60\n")
    lab.vllm.knobs.turn({"tokens": 30, "token_seconds": 0.03})
    idle = [await server.open() for _ in range(20)]
    for reader, writer in idle[:10]:
        writer.write(HEALTH)
        await reader.readuntil(b"\r\n\r\n")
    reader, writer = await server.open()
    writer.write(chat())
    await reader.readuntil(b"data: ")
    for pid in [*(server.workers() if twice else ()), server.process.pid]:
        os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):  # half of what they may take
        for waiting, _ in idle[10:]:
            assert await waiting.read() == b""
        assert lab.vllm.in_flight == 1
        assert (await reader.read()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert await asyncio.to_thread(server.process.wait) == 0
    for _, each in [*idle, (reader, writer)]:
        each.close()


#: The first worker is told to stop while it makes its app.
EARLY = """
import os, pathlib, signal
from spark_core_http import serve
make = serve.make_app
def make_app(*given):
    first = pathlib.Path("first")
    if not first.exists():
        first.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGTERM)
    return make(*given)
serve.make_app = make_app
"""


async def test_a_worker_that_is_told_to_stop_before_it_serves_stops(serve: Serve) -> None:
    """Else a stop soon after the start takes as long as any request may."""
    server = serve("", workers=1, change=EARLY)
    first = int((server.log.parent / "first").read_text())

    async def workers() -> int:
        return sum(pid != first for pid in server.workers())

    await eventually(workers, lambda others: others > 0)


# --------------------------------------------------------------------------------- many, large


def memory(pid: int, what: str = "VmRSS") -> int:
    """The memory that a process has (``VmRSS``), or had at most (``VmHWM``), in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_upload_is_never_held(
    backend: Backend, impatient: Served, chunked: bool
) -> None:
    size, piece = 100 * 1024**2, b"x" * 0x10000
    taken: list[int] = []

    async def script(peer: Peer, head: bytes) -> None:
        framing = (size // len(piece)) * (len(piece) + 9) + 5 if chunked else size
        taken.append(await peer.skip(framing))
        await peer.send(answer(b"{}"))

    backend.script = script
    await exchange(impatient, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    [pid] = impatient.workers()
    before = memory(pid, "VmHWM")
    reader, writer = await impatient.open()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % framing
    )
    for _ in range(size // len(piece)):
        writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
        await writer.drain()
    writer.write(b"0\r\n\r\n" if chunked else b"")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert taken[0] >= size
    assert memory(pid, "VmHWM") - before < 40 * 1024**2


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the system allows, here and in what is started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
async def test_ten_thousand_connections_at_once(many_files: None, lab: Lab, serve: Serve) -> None:
    """Each is open while all the others are, and each is answered twice."""
    server = serve(urls(lab), workers=4)
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(50):
        opened += await asyncio.gather(*[server.open() for _ in range(200)])
        for reader, writer in opened[-200:]:
            writer.write(HEALTH)
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    for _, writer in opened:
        writer.write(HEALTH)
    for reader, writer in opened:
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.slow
async def test_connections_leave_nothing_in_memory(
    lab: Lab, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """30,000 of them, each with a request that is relayed."""
    server = serve(urls(lab), workers=1)
    data = b"GET /v1/audio/voices HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    async def call(count: int) -> None:
        for _ in range(count // 20):
            found = await asyncio.gather(*[exchange(server, data) for _ in range(20)])
            assert all(each.startswith(b"HTTP/1.1 200 ") for each in found)

    await call(6_000)
    [pid] = server.workers()
    before = memory(pid)
    await call(30_000)
    each = (memory(pid) - before) / 30_000
    with capsys.disabled():
        print(f" {each:.0f} bytes for each connection", end="")
    assert each < 100
