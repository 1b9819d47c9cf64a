"""Whatever goes wrong is an error in OpenAI's shape, and never a clean end of half an answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from spark_core_lab.running import Lab

from ...scripted import Peer, answer
from .conftest import Backend, Serve, Served, exchange
from .test_passing_on import ASKED, CHAT, EVENTS, chunk

pytestmark = pytest.mark.anyio

SPEECH = "/v1/audio/speech"


def error_of(found: httpx.Response, status: int) -> dict[str, Any]:
    """The error, which has OpenAI's shape."""
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/json"
    error: dict[str, Any] = found.json()["error"]
    assert {"message", "type", "param", "code"} <= {*error}
    return error


async def forever(peer: Peer, head: bytes) -> None:
    await peer.body(head)
    await peer.gone()


async def test_item_16_a_backend_that_is_too_slow(backend: Backend, web: httpx.AsyncClient) -> None:
    backend.script = forever
    found = await web.post(SPEECH, json={"model": "kokoro"})
    assert error_of(found, 504)["code"] == "backend_timeout"


async def test_a_caller_may_set_its_own_deadline(backend: Backend, web: httpx.AsyncClient) -> None:
    backend.script = forever
    found = await web.post(CHAT, json=ASKED, headers={"x-spark-deadline": "0.2"})
    assert error_of(found, 504)["code"] == "backend_timeout"


async def test_a_deadline_holds_for_a_transcript_with_speakers(
    backend: Backend, web: httpx.AsyncClient, front: Served
) -> None:
    backend.script = forever
    headers = {"x-spark-deadline": "0.2"}
    files = {"file": ("a.wav", b"sound", "audio/wav")}
    found = await web.post(
        "/v1/audio/transcriptions?diarize=true", files=files, data={"model": "m"}, headers=headers
    )
    assert error_of(found, 504)["code"] == "backend_timeout"
    await front.until_free()


@pytest.mark.parametrize("header", ["x-spark-deadline", "x-spark-wait"])
@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "3601"])
async def test_seconds_that_are_none_are_refused(
    web: httpx.AsyncClient, header: str, seconds: str
) -> None:
    found = await web.post(CHAT, json=ASKED, headers={header: seconds})
    assert header in error_of(found, 400)["message"]


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-x\r\n", b"HTTP/1.1 2\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b""],
)
async def test_a_backend_that_speaks_no_http(
    backend: Backend, web: httpx.AsyncClient, garbage: bytes
) -> None:
    backend.answers(garbage)
    assert error_of(await web.post(CHAT, json=ASKED), 502)["code"] == "backend_error"


async def test_a_small_answer_that_is_cut_off(backend: Backend, web: httpx.AsyncClient) -> None:
    backend.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    assert error_of(await web.post(CHAT, json=ASKED), 502)["code"] == "backend_error"


@pytest.mark.parametrize(
    "cut",
    [
        EVENTS + chunk(b"data: 1\n\n"),
        EVENTS + chunk(b"data: 1\n\n") + b"5\r\nda",
        EVENTS + chunk(b"data: 1\n\nda") + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhalf",
    ],
    ids=["cut", "cut in a chunk", "half an event", "short"],
)
async def test_an_answer_that_is_cut_off_has_no_clean_end(
    backend: Backend, front: Served, web: httpx.AsyncClient, cut: bytes
) -> None:
    backend.answers(cut)
    with pytest.raises(httpx.RemoteProtocolError):
        await web.post(CHAT, json=ASKED)
    body = json.dumps(ASKED).encode()
    request = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
    raw = await exchange(front, request % (CHAT.encode(), len(body), body))
    assert not raw.endswith(b"0\r\n\r\n")
    await front.until_free()


async def test_an_answer_that_is_cut_off_has_no_clean_end_in_the_oldest_http(
    backend: Backend, front: Served
) -> None:
    """There, nothing but the connection's end tells where an answer ends."""
    body = json.dumps(ASKED).encode()
    request = b"POST %b HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
    request %= (CHAT.encode(), len(body), body)
    backend.answers(EVENTS + chunk(b"data: 1\n\n") + b"0\r\n\r\n")
    assert (await exchange(front, request)).endswith(b"data: 1\n\n")
    backend.answers(EVENTS + chunk(b"data: 1\n\n"))
    with pytest.raises(ConnectionResetError):
        await exchange(front, request)
    await front.until_free()


@pytest.mark.parametrize("path", ["/v1", "/v1/", "//v1/x", "/v1/x"])
async def test_paths_that_are_none_of_openais(web: httpx.AsyncClient, path: str) -> None:
    request = web.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())
    assert error_of(await web.send(request), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /v1/models HTTP/1.1\r\nx: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_is_an_error_in_both_shapes(
    front: Served, request_: bytes, status: int
) -> None:
    head, _, body = (await exchange(front, request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert b"content-length: %d\r\n" % len(body) in head.lower() + b"\r\n"
    found = json.loads(body)
    assert (found["status"], found["error"]["type"]) == (status, "invalid_request_error")
    assert found["detail"] == found["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"model": "m"', b"[]", b"null", b'"m"', b"\xff", b"[" * 5000, b'{"model": 1}'],
)
async def test_a_body_that_is_no_request(
    backend: Backend, web: httpx.AsyncClient, body: bytes
) -> None:
    error = error_of(await web.post(CHAT, content=body), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == ("model" if body.endswith(b"1}") else None)
    assert backend.heads == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large(
    backend: Backend, web: httpx.AsyncClient, chunked: bool
) -> None:
    async def pieces():
        for _ in range(100):
            yield b"x" * 100_000

    content = pieces() if chunked else b"x" * 10_000_000
    assert error_of(await web.post(CHAT, content=content), 413)["code"] == "too_large"
    assert backend.heads == []


async def test_an_unknown_model_is_told_with_the_known_ones(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    error = error_of(await web.post(CHAT, json={"model": "nothing"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "m, other" in error["message"]


async def test_who_comes_to_a_full_queue_is_told_how_long_it_is(
    backend: Backend, front: Served, web: httpx.AsyncClient
) -> None:
    backend.script = forever
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(web.post(CHAT, json=ASKED)) for _ in range(5)]
        while await front.waiting() < 2:
            pass
        full = await web.post(CHAT, json=ASKED)
        late = await web.post("/v1/embeddings", json=ASKED, headers={"x-spark-wait": "0"})
        for each in waiting:
            each.cancel()
    for found in (full, late):
        error = error_of(found, 503)
        assert (error["code"], error["position"]) == ("busy", 3)
        assert error["expected_wait_s"] >= 0
        assert int(found.headers["retry-after"]) >= 1
    await front.until_free()


async def test_a_wait_that_is_no_time(backend: Backend, web: httpx.AsyncClient) -> None:
    for wait in ("nan", "-1", "soon", "1e9"):
        error_of(await web.post(CHAT, json=ASKED, headers={"x-spark-wait": wait}), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", CHAT, 405), ("DELETE", "/v1/models", 405)],
)
async def test_paths_and_methods_that_there_are_not(
    backend: Backend, web: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    found = await web.request(method, path)
    error = error_of(found, status)
    assert error["type"] == "invalid_request_error"
    assert ("allow" in found.headers) is (status == 405)


async def test_elsewhere_errors_are_problem_documents(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    found = await web.get("/nothing")
    assert found.headers["content-type"] == "application/problem+json"


async def test_an_early_answer_to_an_upload_is_seen(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    """Also where the client goes on sending."""

    async def script(peer: Peer, head: bytes) -> None:
        await peer.send(answer(b"too much", b"413 Too Large"))
        await peer.gone()

    backend.script = script
    found = await web.post("/v1/audio/transcriptions", content=b"x" * 30_000_000)
    assert (found.status_code, found.content) == (413, b"too much")


async def test_a_backend_that_closes_connections_in_between(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    """At once, without saying so."""
    for _ in range(50):
        assert (await web.post(CHAT, json=ASKED)).status_code == 200


async def test_what_is_odd_passes_as_it_is(lab: Lab, http: httpx.AsyncClient) -> None:
    asked = {"model": "BAAI/bge-m3", "input": "a", "encoding_format": "float"}
    lab.bge_m3.faults.set("nan", times=1)
    assert "NaN" in (await http.post("/v1/embeddings", json=asked)).text
    lab.bge_m3.faults.set("html", times=1)
    found = await http.post("/v1/embeddings", json=asked)
    assert found.headers["content-type"] == "text/html"
    assert found.text.startswith("<!doctype html>")


async def test_without_any_settings_it_is_told_what_to_set(serve: Serve) -> None:
    bare = serve("", workers=1)
    async with httpx.AsyncClient(base_url=bare.url, timeout=30) as client:
        error = error_of(await client.post(CHAT, json=ASKED), 503)
    assert error["code"] == "not-configured"
    assert "url" in error["message"]


@pytest.fixture(scope="module")
async def twins(stand_ins: Lab, scripted: Backend, serve: Serve) -> Served:
    """A server in front of two backends with the same model: one has a script, one works."""
    return serve(
        "\n".join(
            f'[[plugins.vllm.backends]]\nname = "{name}"\nurl = "{url}"\nmodels = ["lab/echo"]\n'
            for name, url in (("one", scripted.served.url), ("two", stand_ins.vllm.url))
        )
    )


async def test_another_backend_is_asked_where_one_has_no_room(
    lab: Lab, backend: Backend, twins: Served
) -> None:
    backend.answers(answer(b"full", b"503 Service Unavailable"))
    async with httpx.AsyncClient(base_url=twins.url, timeout=30) as client:
        for _ in range(6):
            asked = {"model": "lab/echo", "messages": [{"role": "user", "content": "a"}]}
            assert (await client.post(CHAT, json=asked)).status_code == 200
    assert backend.heads
    assert lab.vllm.requests == 6


async def test_another_backend_is_asked_where_one_is_down(lab: Lab, serve: Serve) -> None:
    """Where none is left, that is a 502."""
    server = serve(
        "\n".join(
            f'[[plugins.vllm.backends]]\nname = "{name}"\nurl = "{url}"\nmodels = ["lab/echo"]\n'
            for name, url in (("a", "http://127.0.0.1:9"), ("b", lab.vllm.url))
        )
    )
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        asked = {"model": "lab/echo", "messages": [{"role": "user", "content": "a"}]}
        for _ in range(6):
            assert (await client.post(CHAT, json=asked)).status_code == 200
        lab.vllm.faults.set("refuse")
        assert error_of(await client.post(CHAT, json=asked), 502)["code"] == "backend_down"
