"""Requests that the gateway makes for itself, in their turn like those of callers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from typing import IO

import pytest
import spark_core_lab
from hypothesis import given
from hypothesis import strategies as st

from spark_core.errors import NotConfigured
from spark_core.gateway.admission import Busy, Ticket
from spark_core.gateway.forms import FilePart, Form, Multipart, Span
from spark_core.gateway.gateway import Gateway, UnknownModel
from spark_core.gateway.relays import CHAT, SPEECH, TRANSCRIPTIONS
from spark_core.gateway.upstream import Refused

from ...scripted import Peer, answer, serving
from .conftest import OpenGateway, backend

pytestmark = pytest.mark.anyio

TICKET = Ticket(caller="ada", wait_s=5.0, headers=((b"x-request-id", b"abc"),))


class Recorder:
    """Answers every request with *status*, and keeps what was asked."""

    def __init__(self, status: bytes = b"200 OK") -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self._status = status

    async def __call__(self, peer: Peer) -> None:
        while True:
            self.requests.append(await peer.request())
            await peer.send(answer(b"done", self._status))


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(buffering=0) as opened:
        yield opened


def part(file: IO[bytes], content: bytes, start: int = 0) -> FilePart:
    file.write(content)
    return FilePart("file", "a.wav", "audio/wav", Span(file.fileno(), start, len(content) - start))


async def test_a_mapping_is_json_with_the_models_real_name(open_gateway: OpenGateway) -> None:
    recorder = Recorder()
    async with serving(recorder) as there:
        known = backend("a", there.url, models=("m",), aliases={"x": "m"}, limit=1)
        async with open_gateway(known) as gateway:
            reply = await gateway.request(CHAT, {"model": "x", "n": 1}, TICKET, model="x")
            await room_again(gateway)
    assert (reply.backend, reply.status, reply.body) == ("a", 200, b"done")
    head, body = recorder.requests[0]
    assert body == b'{"model":"m","n":1}'
    assert b"x-request-id: abc" in head


async def test_a_form_is_sent_with_its_file(open_gateway: OpenGateway, file: IO[bytes]) -> None:
    recorder = Recorder()
    content = bytes(range(256)) * 4096
    form = Form((("prompt", "Größe"),), part(file, content))
    async with serving(recorder) as there:
        known = backend("a", there.url, relays=(TRANSCRIPTIONS,))
        async with open_gateway(known) as gateway:
            await gateway.request(TRANSCRIPTIONS, form, TICKET, model=None)
    head, body = recorder.requests[0]
    assert b"content-length: %d\r\n" % len(body) in head
    assert b'name="prompt"\r\n\r\nGr\xc3\xb6\xc3\x9fe\r\n' in body
    assert b'name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n' + content in body


async def test_another_backend_is_asked_where_one_is_down_or_overloaded(
    open_gateway: OpenGateway, file: IO[bytes]
) -> None:
    recorder, overloaded = Recorder(), Recorder(b"503 Service Unavailable")
    form = Form((), part(file, b"sound"))
    async with serving(recorder) as there, serving(overloaded) as full:
        urls = {"a": "http://127.0.0.1:9", "b": full.url, "c": there.url}
        backends = [
            backend(name, url, relays=(TRANSCRIPTIONS,), limit=1) for name, url in urls.items()
        ]
        async with open_gateway(*backends) as gateway:
            reply = await gateway.request(TRANSCRIPTIONS, form, TICKET, model=None)
            await room_again(gateway)
    assert (reply.backend, reply.status) == ("c", 200)
    assert b"sound" in recorder.requests[0][1]


async def test_what_no_backend_can_do_is_told(open_gateway: OpenGateway) -> None:
    async with open_gateway(backend("a", models=("m",), limit=1)) as gateway:
        with pytest.raises(Refused):
            await gateway.request(CHAT, {}, TICKET, model="m")
        with pytest.raises(UnknownModel):
            await gateway.request(CHAT, {}, TICKET, model="n")
        with pytest.raises(NotConfigured):
            await gateway.request(SPEECH, {}, TICKET, model=None)
        await room_again(gateway)


async def test_it_waits_for_its_turn(open_gateway: OpenGateway) -> None:
    async with open_gateway(backend("a", limit=1)) as gateway:
        with await gateway.admission.admit(["a"]), pytest.raises(Busy):
            await gateway.request(CHAT, {}, Ticket(wait_s=0.0), model=None)


async def test_who_gives_up_takes_the_request_along(open_gateway: OpenGateway) -> None:
    async with spark_core_lab.start("vllm", work_seconds=3600) as lab:
        known = backend("a", lab.vllm.url, limit=1)
        async with open_gateway(known) as gateway:
            asked = {"model": "lab/echo", "messages": [{"role": "user", "content": "?"}]}
            asking = asyncio.create_task(gateway.request(CHAT, asked, TICKET, model=None))
            await lab.vllm.until(lambda v: v.in_flight == 1)
            asking.cancel()
            await lab.vllm.until(lambda v: v.cancelled == 1 and not v.in_flight)
            await room_again(gateway)


async def room_again(gateway: Gateway) -> None:
    """Each backend's only place is given back, at the latest when the backend has let go."""
    for name in gateway.backends:
        (await gateway.admission.admit([name], wait_s=5.0)).release()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(fields=st.lists(st.tuples(NAMES, NAMES), max_size=4), content=st.binary(max_size=300))
def test_a_form_is_as_long_as_it_says_and_comes_again(
    fields: list[tuple[str, str]], content: bytes
) -> None:
    async def whole(form: Multipart) -> bytes:
        return b"".join([piece async for piece in form])

    with tempfile.TemporaryFile(buffering=0) as file:
        form = Multipart(Form(tuple(fields), part(file, b"##" + content, start=2)))
        first = asyncio.run(whole(form))
        assert len(first) == form.length
        assert first == asyncio.run(whole(form))
    assert b"\r\n\r\n" + content + b"\r\n--" in first


def test_a_span_is_read_like_a_file() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"0123456789")
        span = Span(file.fileno(), 2, 6)
        assert span.read() == b"234567"
        assert (span.seek(-2, 2), span.read(1), span.tell()) == (4, b"6", 5)
        assert span.within(4, 100).read() == b"67"
        assert span.within(100, 1).read() == b""
