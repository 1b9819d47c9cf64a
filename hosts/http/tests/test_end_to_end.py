"""``spark serve`` as users run it: gunicorn, two workers, a real socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

#: A plugin whose operation tells a socket of the test what happens to it.
PROBE = '''
import asyncio, os, socket
from pydantic import BaseModel
from spark_core import BackgroundService, Effect, Operation, Progress, hookimpl

def tell(what):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(what.encode(), os.environ["PROBE_SOCKET"])

class Text(BaseModel):
    text: str = ""

class Length(BaseModel):
    length: int

async def measure(request: Text) -> Length:
    """Measure a text."""
    tell("measured")
    return Length(length=len(request.text))

async def work(request: Text, progress: Progress) -> Length:
    """Work until nobody waits any more, or not at all."""
    progress.update("working", done=1, total=2)
    tell("begun")
    try:
        if request.text == "for ever":
            await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)
        tell("ended")
    return Length(length=len(request.text))

async def fail(request: Text) -> Length:
    """Fail with the caller's text."""
    raise RuntimeError(request.text)

async def serve():
    tell("background")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        tell("given up")

@hookimpl
def spark_register_operations():
    return [Operation(f.__name__, f, Effect.WRITE) for f in (measure, work, fail)]

@hookimpl
def spark_register_background_services():
    return [BackgroundService("probe", serve)]
'''

COMMAND = "from spark_core_http.serve import command; command()"
CREATE = "spark_core_http:create_app()"


class Told:
    """What the probe tells, one message after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(60)

    def next(self) -> str:
        return self._socket.recv(100).decode()

    def nothing(self) -> bool:
        self._socket.setblocking(False)
        try:
            return not self._socket.recv(100)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(60)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Server:
    url: str
    process: subprocess.Popen[str]
    told: Told

    def stop(self, signal_number: int) -> tuple[int, str]:
        """Stop it; its exit code and what it wrote to standard error."""
        self.process.send_signal(signal_number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err

    def connect(self) -> socket.socket:
        address = urlsplit(self.url)
        return socket.create_connection((address.hostname, address.port), timeout=60)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the probe in it, as if it was installed there."""
    site = tmp_path_factory.mktemp("site")
    (site / "probe.py").write_text(PROBE)
    info = site / "spark_core_probe-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spark-core-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[spark_core]\nprobe = probe\n")
    return site


Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def run(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python in a directory of its own, with the probe installed."""

    def start(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.Popen[str]:
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "VIRTUAL_ENV")}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd or tmp_path_factory.mktemp("cwd"),
            env=inherited | {"PYTHONPATH": str(plugin)} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def serve(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """Start servers; they are stopped at the end."""
    servers: list[Server] = []

    def start() -> Server:
        told = Told(tmp_path_factory.mktemp("told") / "s")
        process = run("-c", COMMAND, "--port", "0", PROBE_SOCKET=str(told.path))
        assert process.stdout is not None
        address = process.stdout.readline()
        assert "2 workers" in address
        servers.append(Server(address.split()[2], process, told))
        assert told.next() == "background"
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()
        server.told.close()


@pytest.fixture(scope="module")
def server(serve: Callable[[], Server]) -> Server:
    return serve()


def test_the_operation_of_an_installed_plugin_is_served(server: Server) -> None:
    answer = httpx.post(f"{server.url}/api/measure", json={"text": "four"}, timeout=60)
    assert (answer.status_code, answer.json()) == (200, {"length": 4})
    assert server.told.next() == "measured"
    assert httpx.get(f"{server.url}/ready", timeout=60).json() == {"status": "ready"}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_far_too_much_sees_why_it_is_refused(
    server: Server, chunked: bool
) -> None:
    megabyte = b"x" * 1024**2
    content = (megabyte for _ in range(100)) if chunked else megabyte * 100
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/api/measure", content=content, headers=headers)
        after = client.get("/health")
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert after.status_code == 200
    assert server.told.nothing()


def test_a_body_without_end_is_answered_while_it_still_comes(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /api/measure HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        for _ in range(11):
            connection.sendall(chunk)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
        connection.sendall(chunk)
    assert server.told.nothing()


@pytest.mark.parametrize(
    "upload",
    [
        b'Content-Length: 100\r\n\r\n{"text": "a"}',
        b'Transfer-Encoding: chunked\r\n\r\nd\r\n{"text": "a"}\r\n',
    ],
)
def test_an_upload_that_is_cut_off_never_reaches_the_operation(
    server: Server, upload: bytes
) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /api/measure HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + upload
        )
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1000):  # until the server has closed it, too
            pass
    assert server.told.nothing()


def test_progress_is_streamed_as_it_happens(server: Server) -> None:
    headers = {"Accept": "text/event-stream"}
    with httpx.stream("POST", f"{server.url}/api/work", headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = [line for line in answer.iter_lines() if line.startswith(("event", "data"))]
    assert lines[0::2] == ["event: progress", "event: result"]
    assert json.loads(lines[1].removeprefix("data: "))["phase"] == "working"
    assert json.loads(lines[3].removeprefix("data: ")) == {"length": 0}
    assert [server.told.next() for _ in range(2)] == ["begun", "ended"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_a_client_that_leaves_ends_the_operation(server: Server, accept: str) -> None:
    with server.connect() as connection:
        body = b'{"text": "for ever"}'
        connection.sendall(
            b"POST /api/work HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Accept: %b\r\nContent-Length: %d\r\n\r\n%b" % (accept.encode(), len(body), body)
        )
        assert server.told.next() == "begun"
    assert server.told.next() == "ended"


def test_a_method_of_falcons_own_is_refused(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"WEBSOCKET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "target", [b"/api/audit?action=\xff", b"/\xff", b"/%ff?%ff", b"/a?\xc3\xa9"]
)
def test_bytes_that_are_no_text_in_the_target_are_refused(server: Server, target: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_the_log_holds_nothing_private(
    serve: Callable[[], Server], number: int
) -> None:
    server = serve()
    secret = {"text": "private"}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.post("/api/fail?x=private", json=secret).status_code == 422
        assert client.post("/api/fail", json=secret).status_code == 500
        assert client.post("/api/fail", content=b"private").status_code == 400
    code, log = server.stop(number)
    assert code == 0
    assert server.told.next() == "given up"
    assert "POST /api/fail (request " in log
    assert "probe.py" in log
    assert "private" not in log


def test_an_idle_connection_does_not_keep_it_from_closing_what_it_opened(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "spark.toml").write_text("[http]\nport = 0\nworkers = 1\ngraceful_timeout_s = 1\n")
    told = Told(tmp_path / "s")
    process = run("-c", COMMAND, cwd=tmp_path, PROBE_SOCKET=str(told.path))
    assert process.stdout is not None
    server = Server(process.stdout.readline().split()[2], process, told)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.get("/health").status_code == 200
        assert told.next() == "background"
        assert server.stop(signal.SIGTERM)[0] == 0
    assert told.next() == "given up"
    told.close()


# ---------------------------------------------------------------------------- it does not start


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_wrong_settings_are_told_before_anything_starts(run: Run) -> None:
    code, out, err = ended(run("-c", COMMAND, SPARK_HTTP_WORKERS="many"))
    assert (code, out) == (2, "")
    assert "SPARK_HTTP_WORKERS: [http] workers = 'many'" in err
    assert len(err.splitlines()) == 1


def test_a_port_that_is_taken_is_one_clear_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = ended(run("-c", COMMAND, BIND_PORT=port))
    assert (code, out) == (1, "")
    assert port in err
    assert "in use" in err
    assert len(err.splitlines()) == 1


def test_options_win_over_settings(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = ended(run("-c", COMMAND, "--port", port, BIND_PORT="1"))
    assert code == 1
    assert port in err


def test_gunicorn_itself_stops_on_wrong_settings_without_a_traceback(run: Run) -> None:
    arguments = ("-m", "gunicorn", "-k", "asgi", "-b", "127.0.0.1:0", "--no-control-socket", CREATE)
    code, _, err = ended(run(*arguments, SPARK_HTTP_PORT="many"))
    assert code != 0
    assert "[http] port = 'many'" in err
    assert "Traceback" not in err


def test_a_name_of_another_site_is_refused_by_every_worker(server: Server) -> None:
    for _ in range(4):
        answer = httpx.get(f"{server.url}/health", headers={"Host": "evil.example"}, timeout=60)
        assert answer.status_code == 421
        assert "allowed_hosts" in answer.json()["detail"]
