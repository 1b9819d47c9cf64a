"""No secret gets anywhere but where it is needed: while models are swapped, and afterwards."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from spark_core_lab.sparks.machine import Spark

from .conftest import MODELS, Folder, Serve, receipt

pytestmark = pytest.mark.anyio

# New ones each time: the list of processes is the whole computer's, where somebody may be editing
# this file.
HF_TOKEN = f"hf_{token_hex(16)}"
API_KEY = f"key-{token_hex(16)}"
WEBHOOK = f"secret-of-a-webhook-{token_hex(16)}"
RECEIVER = f"receiver-{token_hex(16)}"
SECRETS = [HF_TOKEN, API_KEY, WEBHOOK, RECEIVER]

SECRET_MODELS = f"""{MODELS}
  private: {{repo: lab/private, memory_gib: 60, ready_s: 60, nodes: 2,
    env: {{HF_TOKEN: {HF_TOKEN}, VLLM_API_KEY: {API_KEY}}}}}
  broken: {{repo: lab/broken, memory_gib: 60, ready_s: 60,
    env: {{HF_TOKEN: {HF_TOKEN}, VLLM_API_KEY: {API_KEY}, BASH_ENV: BROKEN}}}}
"""

#: What the shell does first in the container of the model that ends with its secrets on its lips.
BROKEN = 'echo "huggingface: token $HF_TOKEN is refused; VLLM_API_KEY=$VLLM_API_KEY"; exit 1'


class ProcessList:
    """What anybody on this computer could read in the list of processes, all the time."""

    def __init__(self) -> None:
        self.lines: set[str] = set()
        self.looks = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.looks += 1
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    self.lines.add(file.read_text(errors="replace"))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs, nothing in it is missed that lasts for some milliseconds."""
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()


def files_with(folder: Folder, secrets: Iterable[str]) -> list[Path]:
    """The files of either machine's account that hold one of *secrets*."""
    found = []
    for file in itertools.chain.from_iterable(s.home.rglob("*") for s in folder.pair):
        with suppress(OSError):
            if file.is_file() and any(s.encode() in file.read_bytes() for s in secrets):
                found.append(file)
    return found


def state_of(folder: Folder) -> str:
    """All that the state database holds, as text."""
    with closing(sqlite3.connect(f"file:{folder.path}/.spark/state.db?mode=ro", uri=True)) as state:
        return "\n".join(state.iterdump())


def modes(files: Iterable[Path]) -> set[int]:
    return {stat.S_IMODE(file.stat().st_mode) for file in files}


def inspected(spark: Spark) -> str:
    """What the containers of a machine were begun with, but for their environment."""
    ids = spark.docker("ps", "-aq").stdout.split()
    shown = "{{json .Config.Cmd}} {{json .Config.Labels}} {{json .HostConfig}}"
    return spark.docker("inspect", "-f", shown, *ids).stdout if ids else ""


async def test_no_secret_is_where_anybody_could_read_it(folder: Folder, serve: Serve) -> None:
    """Swaps that succeed, that fail and that are refused; with tokens that are right and wrong."""
    (folder.path / "broken.sh").write_text(BROKEN)
    receiver = f"http://127.0.0.1:9/{RECEIVER}"  # nobody listens there
    hook = f'{{ name = "bot", url = "{receiver}", secrets = ["{WEBHOOK}"] }}'
    folder.write(
        models=SECRET_MODELS.replace("BROKEN", str(folder.path / "broken.sh")),
        more=f"[plugins.coordination]\nwebhooks = [{hook}]",
    )
    served, said, head = serve(workers=2), [], folder.pair[0]
    processes = ProcessList()

    async def hear(response: httpx.Response) -> None:
        await response.aread()
        said.append(response.text)

    async with served.client() as http:
        http.event_hooks["response"] = [hear]
        with processes.watched():
            lock = {"holder": "ada", "ttl_s": 600}
            token = (await http.post("/api/swap/lock", json=lock)).json()["token"]
            said.clear()  # it is shown once
            shown = {"x-spark-lock-token": token}
            wrong = {"x-spark-lock-token": token[:-1]}
            refused = await http.post("/api/swap", json={"model": "private"}, headers=wrong)
            assert refused.status_code == 403

            begun = await http.post("/api/swap", json={"model": "private"}, headers=shown)
            await http.get(f"/api/swaps/{begun.json()['id']}/events")
            assert (await receipt(http, begun.json()["id"]))["outcome"] == "ready"
            kept = files_with(folder, SECRETS)
            assert {file.parent.name for file in kept} == {"environments"}
            assert modes(kept) == {0o600}
            assert head.received is not None
            assert head.received[1]["HF_TOKEN"] == HF_TOKEN  # there it is needed
            argv = inspected(head) + str(head.received[0])

            folder.environment["SPARK_LOCK_TOKEN"] = token
            done = await asyncio.to_thread(folder.spark, "swap", "broken", "--wait", "--yes")
            assert done.returncode != 0
            failed = (await http.get("/api/swap")).json()["last"]
            assert (failed["outcome"], failed["serving"]) == ("rolled_back", "private")
            assert "token *** is refused; VLLM_API_KEY=***" in str(failed["failure"])
            await http.get(f"/api/swaps/{failed['id']}/events")
            for path in ("/api/swaps", "/api/models", "/api/webhooks", "/api/audit"):
                await http.get(path)
            await http.put("/api/swap/lock", json={"ttl_s": "soon"}, headers=shown)
            begun = await http.post("/api/swap", json={"model": "small"}, headers=shown)
            assert (await receipt(http, begun.json()["id"]))["outcome"] == "ready"
    served.stop()

    assert processes.looks > 20
    secrets = [*SECRETS, token]
    for place, text in {
        "the list of processes": "\n".join(processes.lines),
        "the container's arguments": argv,
        "answers": "\n".join(said),
        "the command's output": done.stdout + done.stderr,
        "the server's log": served.log.read_text(),
        "the state": state_of(folder),
    }.items():
        assert [s for s in secrets if s in text] == [], place
    # What the model itself said is where it ran, for its owner alone; its environment is gone.
    left = files_with(folder, secrets)
    assert {file.name for file in left} <= {"log"}
    assert modes(left) <= {0o600}


def test_the_list_of_processes_is_watched() -> None:
    """A secret in it would be found, in a process of a few milliseconds."""
    processes = ProcessList()
    with processes.watched():
        subprocess.run(["sh", "-c", f"sleep 0.2; # {HF_TOKEN}"], check=True)
    assert any(HF_TOKEN in line for line in processes.lines)
