"""Forms that are looked into pass through as they came, to the backend that has the model."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ...scripted import Peer, answer
from .conftest import PATIENCE, Backend, Serve, Served

pytestmark = pytest.mark.anyio

PATH = "/v1/audio/transcriptions"
SOUND = os.urandom(300_000)
FILE = ("file", ("a.wav", SOUND, "audio/wav"))


def field(name: str, value: str) -> Any:
    return name, (None, value)


def form(*parts: Any) -> tuple[bytes, dict[str, str]]:
    """The bytes of a form, and its head."""
    request = httpx.Request("POST", "http://localhost", files=list(parts))
    return request.read(), {"content-type": request.headers["content-type"]}


async def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize(
    "parts",
    [
        (field("model", "m"), FILE),
        (FILE, field("model", "m")),
        (FILE,),
        (field("model", "m"),),
        (field("prompt", "long " * 40_000), FILE),
        (field("prompt", "long " * 400_000), FILE),
        (field("diarize", "false"), FILE, field("diarize", "no")),
        (field("model", "m"), FILE, FILE),
        (FILE, FILE, field("model", "m")),
    ],
    ids=[
        *("fields first", "file first", "file alone", "no file", "long field", "too long a field"),
        *("not wanted", "two files", "two files first"),
    ],
)
@pytest.mark.parametrize("sized", [True, False], ids=["length known", "chunked"])
async def test_a_form_passes_through_as_it_came(
    backend: Backend, web: httpx.AsyncClient, parts: Any, sized: bool
) -> None:
    body, head = form(*parts)
    content = body if sized else in_pieces(body, 50_000)
    found = await web.post(PATH, content=content, headers=head)
    assert found.status_code == 200
    assert found.content == body


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"no form", "multipart/form-data; boundary=xyz"),
        (b"--xyz\r\nhalf a head", "multipart/form-data; boundary=xyz"),
        (b"", "multipart/form-data; boundary=xyz"),
        (b"{}", "application/json"),
        (b"model=m", "multipart/form-data"),
        (b"--" + b"x" * 100, "multipart/form-data; boundary=" + "x" * 100),
    ],
)
async def test_what_is_no_form_is_for_the_backend_to_refuse(
    backend: Backend, web: httpx.AsyncClient, body: bytes, content_type: str
) -> None:
    found = await web.post(PATH, content=body, headers={"content-type": content_type})
    assert (found.status_code, found.content) == (200, body)


async def test_a_compressed_form_is_not_looked_into(
    backend: Backend, web: httpx.AsyncClient
) -> None:
    body, head = form(FILE, field("diarize", "true"))
    found = await web.post(PATH, content=body, headers={**head, "content-encoding": "x-own"})
    assert found.content == body


@pytest.mark.parametrize("size", [100, 1000, 65536, 10**6])
async def test_a_field_that_comes_too_late_is_refused_before_the_backend_has_everything(
    backend: Backend, web: httpx.AsyncClient, size: int
) -> None:
    late = (field("diarize", "true"), field("prompt", "long " * 1000))
    body, head = form(field("model", "m"), FILE, *late)
    found = await web.post(PATH, content=in_pieces(body, size), headers=head)
    assert (found.status_code, found.json()["error"]["param"]) == (400, "diarize")
    assert backend.bodies == []


@pytest.fixture(scope="module")
def two(scripted: Backend, serve: Serve) -> Served:
    """A server in front of two backends, which are the same server at different paths."""
    url = scripted.served.url
    return serve(
        f'[[plugins.parakeet.backends]]\nname = "left"\nurl = "{url}/left"\n'
        'models = ["small"]\naliases = {tiny = "small"}\n'
        f'[[plugins.parakeet.backends]]\nname = "right"\nurl = "{url}/right"\n'
        'models = ["large"]\n',
        workers=1,
    )


@pytest.fixture
async def either(two: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=two.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", [PATH, "/v1/audio/diarizations"])
@pytest.mark.parametrize("first", [True, False], ids=["model first", "file first"])
@pytest.mark.parametrize(
    ("named", "side", "real"),
    [("small", "left", "small"), ("tiny", "left", "small"), ("large", "right", "large")],
)
async def test_among_several_backends_the_forms_model_chooses(
    backend: Backend,
    either: httpx.AsyncClient,
    path: str,
    first: bool,
    named: str,
    side: str,
    real: str,
) -> None:
    """It has its real name there, and nothing else is changed."""
    model, prompt = field("model", named), field("prompt", named)
    body, head = form(*((model, prompt, FILE) if first else (FILE, prompt, model)))
    found = await either.post(path, content=body, headers=head)
    assert found.status_code == 200
    assert backend.heads[-1].startswith(f"POST /{side}{path} ".encode())
    if first or named == real:
        assert found.content == body.replace(
            b'name="model"\r\n\r\n' + named.encode(), b'name="model"\r\n\r\n' + real.encode()
        )
    else:
        boundary = b"--" + head["content-type"].rpartition("boundary=")[2].encode()
        parts = {part.strip(b"-\r\n") for part in body.split(boundary)}
        renamed = {part.replace(b'"model"\r\n\r\ntiny', b'"model"\r\n\r\nsmall') for part in parts}
        assert {part.strip(b"-\r\n") for part in found.content.split(boundary)} == renamed


async def test_a_model_that_neither_has_is_told(either: httpx.AsyncClient) -> None:
    body, head = form(field("model", "huge"), FILE)
    found = await either.post(PATH, content=body, headers=head)
    assert (found.status_code, found.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", [PATH, f"{PATH}?diarize=true", "/v1/audio/diarizations"])
@pytest.mark.parametrize("first", [True, False], ids=["model first", "file first"])
async def test_a_model_that_the_only_backend_does_not_have_is_told(
    backend: Backend, web: httpx.AsyncClient, path: str, first: bool
) -> None:
    model = field("model", "nope")
    body, head = form(*((model, FILE) if first else (FILE, model)))
    found = await web.post(path, content=body, headers=head)
    assert (found.status_code, found.json()["error"]["code"]) == (404, "model_not_found")
    assert backend.heads == []


@pytest.mark.parametrize("first", [True, False], ids=["model first", "file first"])
async def test_the_only_backend_gets_the_models_real_name(
    backend: Backend, web: httpx.AsyncClient, first: bool
) -> None:
    model = field("model", "whisper-1")
    body, head = form(*((model, FILE) if first else (FILE, model)))
    found = await web.post(PATH, content=body, headers=head)
    assert found.status_code == 200
    assert b'name="model"\r\n\r\nparakeet\r\n' in found.content
    assert b"whisper-1" not in found.content


@pytest.fixture(scope="module")
def twins(scripted: Backend, serve: Serve) -> Served:
    """A server in front of two backends that have the same model."""
    url = scripted.served.url
    each = 'name = "{0}"\nurl = "{1}/{0}"\nmodels = ["m"]\n'
    names = ("left", "right")
    return serve(
        "".join(f"[[plugins.parakeet.backends]]\n{each.format(name, url)}" for name in names),
        workers=1,
    )


@pytest.mark.parametrize("first", [True, False], ids=["model first", "file first"])
async def test_another_backend_is_asked_where_one_is_overloaded(
    backend: Backend, twins: Served, first: bool
) -> None:
    async def overloaded(peer: Peer, head: bytes) -> None:
        body = await peer.body(head)
        is_left = head.startswith(b"POST /left")
        await peer.send(answer(b"", b"503 Busy") if is_left else answer(body))

    backend.script = overloaded
    model = field("model", "m")
    body, head = form(*((model, FILE) if first else (FILE, model)))
    async with httpx.AsyncClient(base_url=twins.url, timeout=PATIENCE, trust_env=False) as client:
        for _ in range(4):
            found = await client.post(PATH, content=body, headers=head)
            assert (found.status_code, found.content) == (200, body)
    assert any(head.startswith(b"POST /left") for head in backend.heads)


async def test_without_a_model_either_is_asked(backend: Backend, either: httpx.AsyncClient) -> None:
    body, head = form(FILE)
    found = await either.post(PATH, content=body, headers=head)
    assert (found.status_code, found.content) == (200, body)
