"""A soak of the gateway: mixed traffic, callers that leave, backends that fail, four workers.

Run it with ``python tests/benchmarks/gateway_soak.py --seconds 1800``. It starts the lab and
``spark serve``, and says at the end what did not come back to where it was, which limits were
exceeded (counted at the backends), and which answers were somebody else's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import spark_core_parakeet

CLIP = Path(spark_core_parakeet.__file__).with_name("clip.wav").read_bytes()
LIMITS = {"vllm": 6, "bge_m3": 4}
AUDIO = 2
WORKERS = 4
FAULTS = ("503", "500", "hang", "slow_first_byte", "cut_mid_stream", "half_event", "html", "refuse")
CONFIG = """
[http]
workers = {workers}
graceful_timeout_s = 20
[gateway]
wait_s = 20
[plugins.vllm]
url = "{vllm}"
limit = 6
first_byte_s = 5
[plugins.bge_m3]
url = "{bge_m3}"
limit = 4
first_byte_s = 5
[plugins.parakeet]
url = "{parakeet}"
first_byte_s = 5
[plugins.kokoro]
url = "{kokoro}"
first_byte_s = 5
"""


@dataclass
class Report:
    """What happened."""

    outcomes: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """What must not be."""
        found = [f"somebody else's bytes: {text}" for text in self.foreign]
        found += [f"{k}: {self.peaks[k]} at once of {most}" for k, most in LIMITS.items()
                  if self.peaks[k] > most]  # fmt: skip
        if self.peaks["audio"] > AUDIO:
            found.append(f"audio: {self.peaks['audio']} at once of {AUDIO}")
        for name in ("in_flight", "waiting"):
            if self.after[name]:
                found.append(f"{name}: {self.after[name]} at the end")
        for name, most in (("files", 1.1), ("tasks", 1.1), ("memory_mib", 1.2)):
            if self.after[name] > self.before[name] * most + 8:
                found.append(f"{name}: {self.before[name]} before, {self.after[name]} after")
        return found


# ------------------------------------------------------------------------------ what is soaked


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A ``spark`` command and its first line."""
    command = [sys.executable, "-m", "spark_core_cli", *command]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.terminate()


@contextmanager
def gateway(folder: Path) -> Iterator[tuple[int, str, dict[str, str]]]:
    """The master's process id, its address, and those of the stand-ins."""
    ports = [f"--{name}-port=0" for name in ("vllm", "parakeet", "kokoro", "bge-m3")]
    knobs = ["--tokens", "24", "--token-seconds", "0.01", "--work-seconds", "0.05"]
    with running(["lab", "--json", *ports, *knobs], folder) as (_, line):
        urls = {name: part["url"] for name, part in json.loads(line)["backends"].items()}
        (folder / "spark.toml").write_text(CONFIG.format(workers=WORKERS, **urls))
        with running(["serve", "--port", "0"], folder) as (master, line):
            found = re.search(r"http://\S+", line)
            assert found is not None, line
            yield master.pid, found[0], urls


# -------------------------------------------------------------------------------- the traffic


class Traffic:
    """Callers of all kinds; what comes back is checked to be what was asked for."""

    def __init__(self, client: httpx.AsyncClient, report: Report, seed: random.Random) -> None:
        self._client = client
        self._report = report
        self._random = seed
        kinds = (self._chat, self._stream, self._embed, self._rerank, self._hear, self._speak)
        self._kinds: tuple[Callable[[], Awaitable[None]], ...] = (*kinds, self._chat, self._stream)

    async def one(self) -> None:
        """One request of one caller, who may leave at any moment."""
        patience = self._random.choice([None, None, None, self._random.uniform(0, 0.5)])
        kind = self._random.choice(self._kinds)
        try:
            async with asyncio.timeout(patience):
                await kind()
            outcome = "ok"
        except TimeoutError:
            outcome = "left"
        except httpx.HTTPStatusError as error:
            outcome = str(error.response.status_code)
        except httpx.HTTPError as error:
            outcome = type(error).__name__
        except ValueError:
            outcome = "no JSON"  # a backend that answers with a web page
        self._report.outcomes[outcome] += 1

    async def _post(self, path: str, **options: Any) -> httpx.Response:
        headers = {"x-request-id": uuid.uuid4().hex, "authorization": self._key()}
        if self._random.random() < 0.3:
            headers["x-spark-priority"] = "batch"
        answer = await self._client.post(path, headers=headers, **options)
        if answer.headers["x-request-id"] != headers["x-request-id"]:
            self._report.foreign.append(f"the id of an answer of {path}")
        return answer.raise_for_status()

    def _key(self) -> str:
        return f"Bearer {self._random.randrange(5)}"

    def _check(self, what: str, mark: str, text: str) -> None:
        """Every mark in *text* is *mark*."""
        marks = set(re.findall(r"mark[0-9a-f]{32}", text))
        if marks != {mark}:
            self._report.foreign.append(f"{what}: {len(marks)} marks")

    async def _chat(self) -> None:
        mark = f"mark{uuid.uuid4().hex}"
        answer = await self._post("/v1/chat/completions", json=_prompt(mark))
        self._check("chat", mark, answer.json()["choices"][0]["message"]["content"])

    async def _stream(self) -> None:
        mark = f"mark{uuid.uuid4().hex}"
        request = {**_prompt(mark), "stream": True}
        headers = {"authorization": self._key()}
        path = "/v1/chat/completions"
        async with self._client.stream("POST", path, json=request, headers=headers) as answer:
            if answer.status_code != 200:
                await answer.aread()
                answer.raise_for_status()
            if not answer.headers["content-type"].startswith("text/event-stream"):
                raise ValueError  # a backend that answers with a web page
            text = "".join([part async for part in answer.aiter_text()])
        words = re.findall(r'"content": ?"([^"]*)"', text)
        self._check("stream", mark, "".join(words))
        if "[DONE]" not in text:
            self._report.foreign.append("a stream that was cut looked whole")

    async def _embed(self) -> None:
        texts = [uuid.uuid4().hex for _ in range(self._random.randrange(1, 9))]
        request = {"model": "BAAI/bge-m3", "input": texts}
        answer = await self._post("/v1/embeddings", json=request)
        if len(answer.json()["data"]) != len(texts):
            self._report.foreign.append("embeddings")

    async def _rerank(self) -> None:
        texts = [uuid.uuid4().hex for _ in range(self._random.randrange(1, 9))]
        request = {"model": "BAAI/bge-reranker-v2-m3", "query": "a", "documents": texts}
        answer = await self._post("/v1/rerank", json=request)
        if len(answer.json()["results"]) != len(texts):
            self._report.foreign.append("rerank")

    async def _hear(self) -> None:
        upload = {"file": ("clip.wav", CLIP)}
        answer = await self._post(
            "/v1/audio/transcriptions", files=upload, data={"model": "whisper-1"}
        )
        answer.json()["text"]

    async def _speak(self) -> None:
        words = self._random.randrange(1, 9)
        request = {"model": "tts-1", "input": "word " * words, "voice": "af_heart"}
        answer = await self._post("/v1/audio/speech", json={**request, "response_format": "pcm"})
        if not answer.content:
            self._report.foreign.append("speech")


def _prompt(mark: str) -> dict[str, Any]:
    return {"model": "lab/echo", "messages": [{"role": "user", "content": mark}]}


async def break_things(urls: dict[str, str], seed: random.Random) -> None:
    """Let something go wrong now and then, until cancelled."""
    async with httpx.AsyncClient(timeout=5) as client:
        while True:
            await asyncio.sleep(seed.uniform(0.2, 2))
            fault: dict[str, Any] = {"fault": seed.choice(FAULTS), "times": seed.randrange(1, 4)}
            if fault["fault"] in ("refuse", "hang", "slow_first_byte"):
                fault["seconds"] = seed.uniform(0.2, 2)
            if fault["fault"] == "refuse":
                del fault["times"]
            with suppress(httpx.HTTPError):
                await client.post(f"{seed.choice([*urls.values()])}/__lab__/faults", json=fault)


# -------------------------------------------------------------------------------- the measures


def workers_of(master: int) -> list[int]:
    listed = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(pid) for pid in listed]


def files(pid: int) -> int:
    """How many files and sockets are open."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def measure(url: str, master: int) -> dict[str, Any]:
    """What all workers hold."""
    pids = workers_of(master)
    text = ""
    for _ in range(8 * WORKERS):  # each worker tells of its own tasks when it is asked
        async with httpx.AsyncClient(timeout=10) as client:
            text = (await client.get(f"{url}/metrics")).text

    def total(name: str) -> float:
        return sum(float(v) for v in re.findall(rf"^{name}{{[^}}]*}} (\S+)$", text, re.M))

    return {
        "workers": pids,
        "in_flight": total("spark_in_flight"),
        "waiting": total("spark_waiting"),
        "tasks": total("spark_tasks"),
        "files": sum(map(files, pids)),
        "memory_mib": round(sum(map(memory, pids)), 1),
    }


async def settled(url: str, master: int, seconds: float = 60.0) -> dict[str, Any]:
    """The measures, when nothing is in flight any more or it has had *seconds* to end."""
    deadline = time.monotonic() + seconds
    while True:
        await asyncio.sleep(6)  # connections that nobody uses are closed after five
        found = await measure(url, master)
        if not (found["in_flight"] or found["waiting"]) or time.monotonic() > deadline:
            return found


async def load(url: str, report: Report, callers: int, seconds: float, seed: random.Random) -> None:
    """So many *callers*, one request after another, for so long."""
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=callers)

    async def call(traffic: Traffic) -> None:
        while time.monotonic() < until:
            await traffic.one()

    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        traffic = Traffic(client, report, seed)
        await asyncio.gather(*(call(traffic) for _ in range(callers)))


async def soak(folder: Path, seconds: float, callers: int, seed: int) -> Report:
    """Soak a gateway in *folder*."""
    report, chance = Report(), random.Random(seed)
    with gateway(folder) as (master, url, urls):
        warming = Report()
        await load(url, warming, callers, max(5.0, seconds / 20), chance)
        report.before = await settled(url, master)
        breaking = asyncio.create_task(break_things(urls, chance))
        await load(url, report, callers, seconds, chance)
        breaking.cancel()
        await asyncio.wait([breaking])
        report.after = await settled(url, master)
        async with httpx.AsyncClient() as client:
            for name, address in urls.items():
                counters = (await client.get(f"{address}/__lab__/")).json()["counters"]
                report.peaks[name] = counters["peak"]
                if name in ("parakeet", "kokoro"):
                    most = max(report.peaks.get("audio", 0), counters["peak_together"])
                    report.peaks["audio"] = most
    return report


def main() -> int:
    """Soak, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--callers", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(soak(Path(folder), given.seconds, given.callers, given.seed))
    failures = report.failures()
    if given.json:
        print(json.dumps({**vars(report), "failures": failures}))
    else:
        print("outcomes", dict(report.outcomes.most_common()))
        print("peaks   ", report.peaks)
        print("before  ", report.before)
        print("after   ", report.after)
        print("failures", failures or "none")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
