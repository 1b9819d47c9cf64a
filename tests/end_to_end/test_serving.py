"""What ``spark serve`` takes of its machine."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .serving import served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


@pytest.fixture
def few_files() -> Iterator[int]:
    """The hard limit of this user; the soft one is as low as in many shells."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def workers() -> Iterator[Path]:
    """Where the system tells of the workers of the one server that this process began."""
    for child in children(os.getpid()):
        if "serve" in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
            for worker in children(child):
                yield Path(f"/proc/{worker}")


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_workers_may_open_as_many_files_as_their_user(tmp_path: Path, few_files: int) -> None:
    """Each connection is one; a limit of a shell would be reached with ten thousand."""
    with served(tmp_path, "", workers=2) as url:
        httpx.get(f"{url}/health", timeout=30).raise_for_status()
        found = [
            re.findall(r"Max open files +(\d+)", (w / "limits").read_text()) for w in workers()
        ]
    assert found == [[str(few_files)]] * 2


def test_a_host_that_only_relays_has_no_model_in_memory(tmp_path: Path) -> None:
    """Nothing is indexed here, and there is no database to index."""
    with served(tmp_path, '[plugins.vllm]\nurl = "http://127.0.0.1:9"', workers=1) as url:
        httpx.get(f"{url}/health", timeout=30).raise_for_status()
        [worker] = workers()
        assert "onnxruntime" not in (worker / "maps").read_text()
