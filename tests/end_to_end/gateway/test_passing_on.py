"""What a backend is asked and what it answers pass through unchanged."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx
import pytest

from ...scripted import Peer, answer
from .conftest import Backend, Served, exchange

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "messages": []}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def fields(head: bytes) -> list[tuple[str, str]]:
    """The headers of *head*, as they came."""
    lines = [line.split(": ", 1) for line in head.decode().splitlines()[1:-1]]
    return [(name.lower(), value) for name, value in lines]


@pytest.mark.parametrize("status", [200, 201, 204, 400, 404, 413, 418, 422, 429, 500, 503, 599])
async def test_item_16_statuses_and_bodies(
    backend: Backend, web: httpx.AsyncClient, status: int
) -> None:
    body = b"" if status == 204 else b'{"detail": "as it is"}'
    backend.answers(answer(body, b"%d Whatever" % status, b"content-type: a/b", b"retry-after: 7"))
    found = await web.post(CHAT, json=ASKED)
    assert (found.status_code, found.content) == (status, body)
    assert (found.headers["content-type"], found.headers["retry-after"]) == ("a/b", "7")


async def test_every_cookie_is_kept_and_neighbours_headers_are_not(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    own = (b"set-cookie: a=1", b"set-cookie: b=2", b"x-hop: 1", b"x-own: 1", b"server: me")
    backend.answers(answer(b"{}", b"200 OK", b"connection: x-hop, close", b"keep-alive: 3", *own))
    found = await web.post(CHAT, json=ASKED)
    assert found.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert found.headers["x-own"] == "1"
    assert not {"x-hop", "keep-alive"} & {*found.headers}
    assert "me" not in found.headers["server"]


async def test_neighbours_headers_of_the_caller_are_not_passed_on(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    headers = {
        "connection": "X-Mine, keep-alive", "x-mine": "1", "te": "trailers", "x-kept": "1",
        "proxy-authorization": "secret", "x-spark-priority": "batch", "authorization": "Bearer k",
    }  # fmt: skip
    await web.post(CHAT, json=ASKED, headers=headers)
    passed = dict(fields(backend.heads[0]))
    assert (passed["x-kept"], passed["authorization"]) == ("1", "Bearer k")
    hop = {"connection", "x-mine", "te", "proxy-authorization", "x-spark-priority"}
    assert not hop & {*passed}
    assert passed["host"] == backend.served.url.removeprefix("http://")


async def test_a_request_is_named_and_traced(backend: Backend, web: httpx.AsyncClient) -> None:
    headers = {"x-request-id": "r-1", "traceparent": "00-1-2-01", "tracestate": "a=b"}
    found = await web.post(CHAT, json=ASKED, headers=headers)
    assert headers.items() <= dict(fields(backend.heads[0])).items()
    assert found.headers.get_list("x-request-id") == ["r-1"]
    assert "backend;dur=" in found.headers["server-timing"]


async def test_a_models_other_name_in_a_query_is_put_back_to_its_own(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    for query in ("a=%26&model=tts-1&b=", "model=kokoro&c=%20"):
        assert (await web.get(f"/v1/audio/voices?{query}")).status_code == 200
    lines = [head.split(b"\r\n")[0] for head in backend.heads]
    assert lines == [
        b"GET /v1/audio/voices?a=%26&model=kokoro&b= HTTP/1.1",
        b"GET /v1/audio/voices?model=kokoro&c=%20 HTTP/1.1",
    ]


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("elsewhere.example", 421)])
async def test_a_request_may_name_the_host_in_its_first_line(
    backend: Backend, front: Served, host: str, status: int
) -> None:
    """It counts for more than what the header says."""
    body = json.dumps(ASKED).encode()
    target = f"http://{host}:80{CHAT}?a=b".encode()
    request = b"POST %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    request += b"Content-Length: %d\r\n\r\n%b"
    found = await exchange(front, request % (target, len(body), body))
    assert found.startswith(b"HTTP/1.1 %d " % status)
    if status == 200:
        assert backend.heads[-1].startswith(b"POST %b?a=b HTTP/1.1\r\n" % CHAT.encode())


@pytest.mark.parametrize("given", [None, "not sane!", "x" * 200])
async def test_a_request_without_a_sane_name_gets_one(
    backend: Backend, web: httpx.AsyncClient, given: str | None
) -> None:
    backend.answers(answer(b"{}", b"200 OK", b"x-request-id: of the backend"))
    found = await web.post(CHAT, json=ASKED, headers={"x-request-id": given} if given else {})
    [name] = found.headers.get_list("x-request-id")
    assert dict(fields(backend.heads[0]))["x-request-id"] == name != given


async def test_gzip_passes_both_ways(backend: Backend, web: httpx.AsyncClient) -> None:
    packed = gzip.compress(b'{"model": "m"}')
    backend.answers(answer(packed, b"200 OK", b"content-encoding: gzip"))
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    found = await web.post(CHAT, content=packed, headers=headers)
    assert backend.bodies == [packed]
    assert found.json() == {"model": "m"}


async def test_packed_events_are_not_taken_for_half_ones(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    packed = gzip.compress(b"data: 1\n\n")
    head = EVENTS.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    backend.answers(head + chunk(packed) + b"0\r\n\r\n")
    assert (await web.post(CHAT, json=ASKED)).text == "data: 1\n\n"


async def test_item_16_an_event_is_passed_on_while_the_next_is_withheld(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer, head: bytes) -> None:
        await peer.body(head)
        await peer.send(EVENTS + chunk(b"data: 1\n\n"))
        await seen.wait()
        await peer.send(chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    backend.script = script
    async with web.stream("POST", CHAT, json=ASKED) as found:
        pieces = found.aiter_raw()
        assert await anext(pieces) == b"data: 1\n\n"
        seen.set()
        assert [piece async for piece in pieces] == [b"data: 2\n\n"]


async def test_a_model_by_another_name_is_renamed_and_nothing_else(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    asked = {"model": "other", "n": 10**30, "x": [1.5, None, "Grüße 轴承"], "": {"model": "other"}}
    await web.post(CHAT, json=asked)
    assert json.loads(backend.bodies[0]) == {**asked, "model": "m"}


async def test_a_body_that_needs_no_other_name_is_passed_byte_by_byte(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    body = b' {"model":\t"m", "a": NaN, "a": 1.50}\n'
    found = await web.post(CHAT, content=body)
    assert backend.bodies == [body] == [found.content]


async def test_queries_are_kept_and_other_paths_are_the_usual_one(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    await web.post("/rerank?a=1&b=%20%C3%BC", json=ASKED)
    await web.get("/v1/audio/voices?legacy=true")
    await web.get("/vllm/metrics")
    lines = [head.split(b"\r\n")[0] for head in backend.heads]
    assert lines == [
        b"POST /v1/rerank?a=1&b=%20%C3%BC HTTP/1.1",
        b"GET /v1/audio/voices?legacy=true HTTP/1.1",
        b"GET /metrics HTTP/1.1",
    ]


async def test_a_client_of_http_1_0_gets_no_chunks(backend: Backend, front: Served) -> None:
    backend.answers(EVENTS + chunk(b"data: 1\n\n") + b"0\r\n\r\n")
    body = json.dumps(ASKED).encode()
    request = b"POST %b HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body)
    head, _, rest = (await exchange(front, request)).partition(b"\r\n\r\n")
    assert rest == b"data: 1\n\n"
    assert b"chunked" not in head.lower()


async def test_who_waits_for_a_100_gets_it_before_the_body(backend: Backend, front: Served) -> None:
    reader, writer = await front.open()
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await reader.read()).endswith(b"\r\n\r\nbody")
    assert "expect" not in dict(fields(backend.heads[0]))
    writer.close()


async def test_who_waits_for_a_100_with_far_too_much_is_refused_instead(
    backend: Backend, front: Served
) -> None:
    reader, writer = await front.open()
    writer.write(
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_passes_as_it_is_framed(
    backend: Backend, web: httpx.AsyncClient, chunked: bool
) -> None:
    async def pieces():
        for _ in range(3):
            yield b"piece"

    content = pieces() if chunked else b"piece" * 3
    found = await web.post("/v1/audio/transcriptions", content=content)
    assert found.content == b"piece" * 3
    assert ("transfer-encoding" in dict(fields(backend.heads[0]))) is chunked


async def test_a_page_of_another_site_may_not_ask(backend: Backend, web: httpx.AsyncClient) -> None:
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        found = await web.post(CHAT, json=ASKED, headers=headers)
        assert (found.status_code, found.json()["error"]["code"]) == (403, "forbidden")
    own = {"origin": str(web.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert (await web.post(CHAT, json=ASKED, headers=own)).status_code == 200
    assert len(backend.heads) == 1


async def test_a_name_of_another_site_is_not_known(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    found = await web.post(CHAT, json=ASKED, headers={"host": "evil.example"})
    assert found.status_code == 421
    assert "allowed_hosts" in found.json()["error"]["message"]
    assert backend.heads == []


async def test_a_request_that_went_through_a_gateway_is_not_relayed_again(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    await web.post(CHAT, json=ASKED)
    marks = {name: value for name, value in fields(backend.heads[0]) if "spark" in name}
    found = await web.post(CHAT, json=ASKED, headers=marks)
    assert (found.status_code, found.json()["error"]["code"]) == (502, "backend_error")
    assert found.headers["x-request-id"]
