"""Batches, retries and a server that misbehaves."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_bge_m3.providers import open_embedder, open_reranker
from spark_core_bge_m3.reranker import BgeM3Reranker
from spark_core_bge_m3.server import Server
from spark_core_bge_m3.settings import BgeM3Settings

import spark_core
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.reranking import Reranker
from spark_core.errors import BackendError, NotConfigured, SettingsError, TimedOut, Unavailable
from spark_core.http_client import Retries, open_client, shown

pytestmark = pytest.mark.anyio

SECRET = "Ada's private note"


class Pauses(list[float]):
    """Notes how long was waited for, and does not wait."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def opened(server: Any, pauses: Pauses) -> Callable[..., AbstractAsyncContextManager[Server]]:
    """Opens our side of the server, with settings."""

    def opened(**settings: Any) -> AbstractAsyncContextManager[Server]:
        retries = Retries(count=3, sleep=pauses, random=lambda: 0.5, clock=Noon())
        return Server.open(BgeM3Settings(**{"url": server.url, **settings}), retries)

    return opened


@pytest.fixture
async def embedder(opened: Any) -> AsyncIterator[BgeM3Embedder]:
    async with opened(batch=2) as ours:
        yield BgeM3Embedder(ours, "BAAI/bge-m3")


@pytest.fixture
async def reranker(opened: Any) -> AsyncIterator[BgeM3Reranker]:
    async with opened(batch=2) as ours:
        yield BgeM3Reranker(ours, "BAAI/bge-reranker-v2-m3")


# ---------------------------------------------------------------------------- configuration


def test_import_is_light() -> None:
    """Finding the plugin does not import httpx."""
    code = "import sys, spark_core_bge_m3; print('httpx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@asynccontextmanager
async def spark_in(
    directory: Path, monkeypatch: pytest.MonkeyPatch, **environ: str
) -> AsyncIterator[spark_core.Spark]:
    monkeypatch.chdir(directory)
    async with spark_core.open(environ=environ) as spark:
        yield spark


async def test_the_url_alone_chooses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address in the environment, it is the embedder and the reranker."""
    async with spark_in(tmp_path, monkeypatch, SPARK_CONTROL_URL="http://spark.test") as spark:
        assert isinstance(await spark.resolver.get(Embedder), BgeM3Embedder)
        assert isinstance(await spark.resolver.get(Reranker), BgeM3Reranker)
        assert spark.settings.section(BgeM3Settings).verify_tls


@pytest.mark.parametrize("contract", [Embedder, Reranker])
async def test_without_a_url_it_says_what_to_set(
    contract: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blank address counts as none; the error names the setting and the variable."""
    environ = {
        "SPARK_CONTROL_URL": " ",
        "SPARK_PROVIDERS_EMBEDDER": "bge_m3",
        "SPARK_PROVIDERS_RERANKER": "bge_m3",
    }
    async with spark_in(tmp_path, monkeypatch, **environ) as spark:
        with pytest.raises(NotConfigured, match=r"\[plugins.bge_m3\] url .*SPARK_CONTROL_URL"):
            await spark.resolver.get(contract)


@pytest.mark.parametrize("url", ["spark.lan", "ftp://spark.lan", "http://", "http://a?b=c"])
async def test_a_wrong_url_is_a_wrong_setting(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no web address is found when settings are read."""
    with pytest.raises(SettingsError, match="must be like http://host:port"):
        async with spark_in(tmp_path, monkeypatch, SPARK_CONTROL_URL=url):
            pass
    with pytest.raises(SettingsError):
        open_client(url)


async def test_a_wrong_url_does_not_tell_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in the scheme must not put the credentials into an error."""
    url = "htp://ada:hunter2@spark.lan"
    with pytest.raises(SettingsError, match=r"spark\.lan") as caught:
        async with spark_in(tmp_path, monkeypatch, SPARK_CONTROL_URL=url):
            pass
    assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------------------------- batches


async def test_requests_are_as_agreed(
    embedder: BgeM3Embedder, reranker: BgeM3Reranker, server: Any
) -> None:
    """The bodies have the shape that servers of these APIs read."""
    await embedder.embed(["a", "b"])
    await reranker.rerank("q", ["a", "b"])
    first, second = server.requests
    assert first.path == "/v1/embeddings"
    assert first.body == {"model": "BAAI/bge-m3", "input": ["a", "b"]}
    assert second.path == "/v1/rerank"
    assert second.body == {
        "model": "BAAI/bge-reranker-v2-m3",
        "query": "q",
        "documents": ["a", "b"],
    }
    assert "authorization" not in first.headers


async def test_the_key_is_sent(server: Any) -> None:
    """An API key goes with every request, and a path before /v1 is kept."""
    settings = BgeM3Settings(url=server.url + "/gpu/", api_key="k-123")
    async with open_reranker(settings) as reranker:
        await reranker.rerank("q", ["a"])
    assert server.requests[0].headers["authorization"] == "Bearer k-123"
    assert server.requests[0].path == "/gpu/v1/rerank"


async def test_a_wrong_answers_url_is_shown(opened: Any, server: Any) -> None:
    """The error names the address that was asked, to be tried by hand."""
    server.plan = [server.Reply(body=b"[]")]
    async with opened(url=server.url + "/gpu/") as ours:
        with pytest.raises(BackendError, match=re.escape(f"{server.url}/gpu/v1/rerank answered")):
            await BgeM3Reranker(ours, "m").rerank("q", ["a"])


async def test_batches_run_side_by_side_within_bounds(opened: Any, server: Any) -> None:
    """Many texts go in batches, several at once but no more than allowed."""
    server.gate.clear()
    texts = [f"text {n}" for n in range(20)]
    async with opened(batch=2, concurrency=3) as ours:
        embedder = BgeM3Embedder(ours, "m")
        both = asyncio.gather(embedder.embed(texts), embedder.embed(texts))
        await server.arrived(3)
        server.gate.set()
        first, second = await both
    assert first == second
    assert len(first) == 20
    assert server.most_at_once == 3
    assert {len(request.body["input"]) for request in server.requests} == {2}


async def test_one_failure_cancels_the_rest(opened: Any, server: Any) -> None:
    """When a batch fails for good, nobody waits for those that still run."""
    server.plan = [server.Reply(400), server.HANG]
    async with opened(batch=1, concurrency=2) as ours:
        with pytest.raises(BackendError, match="status 400"):
            await BgeM3Embedder(ours, "m").embed(["a", "b", "c", "d"])


async def test_a_cancelled_call_leaves_nothing_behind(embedder: BgeM3Embedder, server: Any) -> None:
    """After a caller has left, its places are free again."""
    server.gate.clear()
    call = asyncio.create_task(embedder.embed([str(n) for n in range(20)]))
    await server.arrived(4)
    call.cancel()
    await asyncio.wait([call])
    server.gate.set()
    assert call.cancelled()
    assert len(await embedder.embed([str(n) for n in range(20)])) == 20


# ---------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again(
    embedder: BgeM3Embedder, server: Any, pauses: Pauses, status: int
) -> None:
    """Pauses grow; the answer is the one that came at last."""
    server.plan = [server.Reply(status)] * 3
    assert len(await embedder.embed(["a"])) == 1
    assert pauses == [0.375, 0.75, 1.5]


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("7", 7.0),
        ("0", 0.375),
        ("86400", 30.0),
        ("9" * 500, 30.0),
        ("Mon, 05 Jan 2026 12:00:09 GMT", 9.0),
        ("Mon, 05 Jan 2026 12:00:09 -0000", 9.0),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0.375),
        ("soon", 0.375),
        ("-5", 0.375),
        ("Jan 30 99999999999 12:00:09", 0.375),
    ],
)
async def test_retry_after_is_heeded(
    embedder: BgeM3Embedder, server: Any, pauses: Pauses, asked: str, waited: float
) -> None:
    """The server says how long to wait, in seconds or by date, within bounds."""
    server.plan = [server.Reply(503, headers={"Retry-After": asked})]
    await embedder.embed(["a"])
    assert pauses == [waited]


@pytest.mark.parametrize(("asked", "told"), [("40", 40), ("9" * 500, 3600)])
async def test_a_server_that_stays_busy_is_unavailable(
    embedder: BgeM3Embedder, server: Any, pauses: Pauses, asked: str, told: int
) -> None:
    """After the last try the error says where, and when to come back, within reason."""
    server.plan = [server.Reply(503, headers={"Retry-After": asked})] * 4
    with pytest.raises(Unavailable, match=r"/v1/embeddings is busy \(status 503\)") as caught:
        await embedder.embed([SECRET])
    assert len(pauses) == 3
    assert told <= caught.value.retry_after <= told + 5
    assert "Ada" not in str(caught.value)


async def test_broken_connections_are_made_again(
    embedder: BgeM3Embedder, server: Any, pauses: Pauses
) -> None:
    """A server that hangs up, as one that restarts does, is asked again."""
    server.plan = [server.Reply(body=None)] * 2
    assert len(await embedder.embed(["a"])) == 1
    assert len(pauses) == 2


async def test_a_silent_server_times_out(opened: Any, server: Any, pauses: Pauses) -> None:
    """Silence is waited for as long as settings say, each time."""
    server.gate.clear()
    async with opened(timeout_s=0.05) as ours:
        with pytest.raises(TimedOut, match=r"/v1/rerank did not answer in time"):
            await BgeM3Reranker(ours, "m").rerank("q", ["a"])
    assert len(pauses) == 3
    await server.arrived(4)


async def test_an_absent_server_is_named_without_its_password(
    opened: Any, server: Any, pauses: Pauses
) -> None:
    """Where nobody listens the error says so, and keeps credentials to itself."""
    port = await _unused_port()
    url = f"http://ada:hunter2@127.0.0.1:{port}"
    async with opened(url=url) as ours:
        with pytest.raises(Unavailable, match=f"http://127.0.0.1:{port}/v1/embeddings") as caught:
            await BgeM3Embedder(ours, "m").embed(["a"])
    assert len(pauses) == 3
    assert "hunter2" not in str(caught.value) + repr(caught.value)


async def _unused_port() -> int:
    listening = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    return port


# ------------------------------------------------------------------------------ bad answers


def last_left_out(answer: dict[str, Any]) -> dict[str, Any]:
    return {"data": answer["data"][:-1]}


def one_twice(answer: dict[str, Any]) -> dict[str, Any]:
    return {"data": [answer["data"][0]] * 2}


def vectors(*components: Any) -> Callable[[Any], Any]:
    return lambda answer: {"data": [{"index": n, "embedding": components} for n in range(2)]}


def uneven(answer: dict[str, Any]) -> dict[str, Any]:
    return {"data": [{"index": n, "embedding": [1.0] * (n + 1)} for n in range(2)]}


@pytest.mark.parametrize(
    "step",
    [
        last_left_out,
        one_twice,
        uneven,
        vectors(),
        vectors(float("nan"), 1.0),
        vectors(1.0, float("-inf")),
        vectors("one", SECRET),
        vectors([1.0]),
        lambda answer: [],
        lambda answer: {"error": {"message": SECRET}},
        lambda answer: {"data": None},
    ],
)
async def test_a_wrong_answer_is_a_backend_error(
    embedder: BgeM3Embedder, server: Any, pauses: Pauses, step: Any
) -> None:
    """Whatever is not one finite vector per text is refused, not repaired, not asked for again."""
    server.plan = [step]
    with pytest.raises(BackendError, match="/v1/embeddings") as caught:
        await embedder.embed(["a", SECRET])
    assert "Ada" not in str(caught.value)
    assert not pauses


@pytest.mark.parametrize("body", [b"<html>Welcome, Ada!</html>", b"", b'{"data": [', b"\xff\xfe"])
async def test_what_is_not_json_is_a_backend_error(
    embedder: BgeM3Embedder, reranker: BgeM3Reranker, server: Any, body: bytes
) -> None:
    """A login page with status 200 is not an answer."""
    server.plan = [server.Reply(body=body)] * 2
    for asking in (embedder.embed(["a"]), reranker.rerank("q", ["a"])):
        with pytest.raises(BackendError, match="Invalid JSON") as caught:
            await asking
        assert "Ada" not in str(caught.value)


@pytest.mark.parametrize(("status", "hint"), [(302, ""), (401, "API key"), (404, "url"), (500, "")])
async def test_other_statuses_are_backend_errors(
    embedder: BgeM3Embedder, server: Any, pauses: Pauses, status: int, hint: str
) -> None:
    """Only what may pass is asked for again."""
    server.plan = [server.Reply(status, SECRET.encode())]
    with pytest.raises(BackendError, match=f"status {status}") as caught:
        await embedder.embed([SECRET])
    assert hint in str(caught.value)
    assert "Ada" not in str(caught.value)
    assert not pauses


async def test_another_dimension_later_is_refused(embedder: BgeM3Embedder, server: Any) -> None:
    """Vectors of another model never get into a collection of this one."""
    assert await embedder.dimension() == 64
    server.plan = [vectors(1.0, 2.0)]
    with pytest.raises(BackendError, match=r"2 dimensions .* after 64"):
        await embedder.embed(["a", "b"])
    assert await embedder.dimension() == 64


async def test_the_dimension_is_asked_for_once(embedder: BgeM3Embedder, server: Any) -> None:
    """One short text tells it; after any answer it is known."""
    assert await embedder.dimension() == 64
    assert await embedder.dimension() == 64
    assert len(server.requests) == 1


async def test_scores_may_be_called_scores(reranker: BgeM3Reranker, server: Any) -> None:
    """Both names that servers use for a score are read."""
    server.plan = [lambda answer: {"results": [{"index": 0, "score": 2}]}]
    assert await reranker.rerank("q", ["a"]) == [2.0]


@pytest.mark.parametrize(
    "results",
    [
        [],
        [{"index": 0}],
        [{"index": 1, "score": 1.0}],
        [{"index": 0, "score": float("nan")}],
        [{"index": 0, "score": 1.0}, {"index": 0, "score": 1.0}],
    ],
)
async def test_a_wrong_score_is_a_backend_error(
    reranker: BgeM3Reranker, server: Any, results: Any
) -> None:
    """Whatever is not one finite score per text is refused."""
    server.plan = [lambda answer: {"results": results}]
    with pytest.raises(BackendError, match="/v1/rerank"):
        await reranker.rerank("q", ["a"])


# -------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", f"{file}.crt"]
    subprocess.run([*command.split(), *map(str, names)], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
async def tls_server(server: Any, certificate: Path) -> AsyncIterator[Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with type(server)().serving(context) as tls_server:
        yield tls_server


async def test_certificates_are_verified(opened: Any, tls_server: Any, pauses: Pauses) -> None:
    """Nothing is sent to a server whose certificate nobody we trust has signed."""
    async with opened(url=tls_server.url) as ours:
        with pytest.raises(BackendError, match=r"certificate .* cannot be verified"):
            await BgeM3Embedder(ours, "m").embed(["a"])
    assert not tls_server.requests
    assert not pauses


async def test_verification_can_be_switched_off(tls_server: Any) -> None:
    """A server on one's own network may have a certificate of its own."""
    settings = BgeM3Settings(url=tls_server.url, verify_tls=False)
    async with open_embedder(settings) as embedder:
        assert await embedder.dimension() == 64


async def test_this_machines_authorities_are_trusted(
    tls_server: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private authority is trusted where the machine trusts it."""
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    async with open_embedder(BgeM3Settings(url=tls_server.url)) as embedder:
        assert await embedder.dimension() == 64


# ------------------------------------------------------------------------------- the client


async def test_the_environments_proxy_is_not_used(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy meant for the world outside must not see what goes to our own machines."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with open_embedder(BgeM3Settings(url=server.url, retries=0)) as direct:
        assert await direct.dimension() == 64


async def test_names_are_looked_up_as_ipv4(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer about IPv6 does not hold up a connection by name."""
    url = server.url.replace("127.0.0.1", "localhost")
    async with open_embedder(BgeM3Settings(url=url, retries=0)) as embedder:
        assert await embedder.dimension() == 64


async def test_an_ipv6_address_is_reached() -> None:
    """An address says by itself what it is."""
    try:
        listening = await asyncio.start_server(_no_content, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        async with open_client(f"http://[::1]:{port}") as client:
            assert (await client.get("/")).status_code == 204


async def _no_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    writer.close()
    await writer.wait_closed()


def test_shown_urls_hold_no_secret() -> None:
    """Credentials, queries and fragments are left out."""
    assert shown("https://ada:pw@spark.lan:8443/x?key=1#2") == "https://spark.lan:8443/x"
    assert shown(httpx.URL("http://spark.lan")) == "http://spark.lan"
