"""TLS, proxies and addresses."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_bge_m3.providers import open_embedder
from spark_core_bge_m3.settings import BgeM3Settings

from spark_core.errors import BackendError
from spark_core.http_client import open_client, shown

pytestmark = pytest.mark.anyio


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


async def test_certificates_are_verified(opened: Any, tls_server: Any, pauses: Any) -> None:
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
