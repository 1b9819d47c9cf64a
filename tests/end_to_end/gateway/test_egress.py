"""Audio and transcripts leave for the servers that settings name, and for no other."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from spark_core_lab.running import Lab

from ..test_speakers import TALK
from .conftest import PATIENCE, Serve, urls

pytestmark = pytest.mark.anyio


class Peers:
    """Who the sockets of some processes lead to, looked at all the time."""

    def __init__(self, processes: list[int]) -> None:
        self.found: set[tuple[str, int]] = set()
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @contextmanager
    def watched(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.002):
            ours = {inode for process in self._processes for inode in sockets(process)}
            for name in ("tcp", "tcp6", "udp", "udp6"):
                for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                    _, _, remote, *rest = line.split()
                    if rest[6] in ours and not remote.endswith(":0000"):
                        self.found.add(address(remote))


def sockets(process: int) -> Iterator[str]:
    """The inodes of its sockets."""
    with suppress(OSError):
        for file in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                target = str(file.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def address(text: str) -> tuple[str, int]:
    """An address as the kernel writes it: words of four bytes, the lowest first."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)


async def test_items_23_nothing_else_is_connected_to(lab: Lab, serve: Serve) -> None:
    """A transcription with speakers, one without, and speech: all to loopback, and to backends."""
    for backend in lab.all.values():
        backend.knobs.turn({"work_seconds": 0.3})  # so that its connection is seen
    server = serve(urls(lab), workers=1)
    peers = Peers([server.process.pid, *server.workers()])
    files = {"file": ("talk.wav", TALK, "audio/wav")}
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as http:
        with peers.watched():
            for fields in ({"model": "whisper-1"}, {"model": "whisper-1", "diarize": "true"}):
                path = "/v1/audio/transcriptions"
                assert (await http.post(path, data=fields, files=files)).status_code == 200
            spoken = {"model": "kokoro", "input": "Good morning.", "voice": "af_heart"}
            assert (await http.post("/v1/audio/speech", json=spoken)).status_code == 200
    away = {host for host, _ in peers.found if not ipaddress.ip_address(host).is_loopback}
    assert away == set()
    seen = {port for _, port in peers.found}
    assert {httpx.URL(backend.url).port for backend in (lab.parakeet, lab.kokoro)} <= seen
