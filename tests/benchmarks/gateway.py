"""The gateway, against nginx and against a bare relay of Falcon and httpx.

::

    python tests/benchmarks/gateway.py [--quick] [--litellm] [--only SCENARIO]

Each server has one worker, all on the core that is quietest at the start; what asks them and
what they ask are two programs in C on the other cores, compiled here. The servers take turns,
and the medians count. CPU is what the kernel says all the server's processes got. Rounds in
which others took more than a quarter of the core count only where there are no better ones.

``--only`` takes part of a scenario's name, and leaves out the others, memory, and leaving; it may
be given several times.

``--litellm`` installs LiteLLM into a fresh environment and measures its chats instead: it writes
events anew, so that bytes do not count them. Without a C compiler or nginx everything is left
out, by name.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from tables import show

HERE = Path(__file__).parent
EVENT = 158
FOREIGN = 0.25
START_SECONDS = 150

#: What clients send as their key: LiteLLM starts with none but a strong one.
KEY = f"sk-{secrets.token_hex(32)}"
CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 9999999; client_max_body_size 0; {temporary}
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 9999999; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
SPARK = """
[http]
port = {port}
workers = 1
[plugins.vllm]
url = "http://127.0.0.1:{backend}"
limit = 128
[plugins.bge_m3]
url = "http://127.0.0.1:{backend}"
[plugins.kokoro]
url = "http://127.0.0.1:{backend}"
[plugins.parakeet]
url = "http://127.0.0.1:{backend}"
"""
LITELLM = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{backend}/v1", api_key: x}}
"""


# ------------------------------------------------------------------------------ what is asked


@dataclass(frozen=True)
class Scenario:
    """Requests of one kind, so many *clients* at once.

    *unit* is what CPU is counted for. *wanted* is the most that ours may take of it, in nginx's.
    """

    name: str
    unit: str
    target: str
    clients: int
    wanted: float
    body: bytes = b""
    seconds: float = 0.7
    latency: bool = False
    keep: bool = True

    def request(self) -> bytes:
        """The bytes that are sent."""
        kind = "multipart/form-data; boundary=x" if self.target == UPLOAD else "application/json"
        head = (
            f"POST {self.target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: {kind}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body

    def units(self, answers: int, received: int) -> float:
        """How many there were."""
        return received / EVENT if self.unit == "event" else answers


def chat(**more: object) -> bytes:
    """A request for a chat."""
    message = {"role": "user", "content": "hello " * 150}
    return json.dumps({"model": "m", "messages": [message], **more}).encode()


def form(size: int) -> bytes:
    """A multipart upload of *size* bytes, behind its fields, as OpenAI's clients send it."""
    head = (
        b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    )
    return head + bytes(size) + b"\r\n--x--\r\n"


PLAIN = Scenario("chat, 16 at once", "request", CHAT, 16, 7.0, chat())
ALONE = Scenario("chat, one at a time", "request", CHAT, 1, 2.1, chat(), 0.5, latency=True)
FLOOD = Scenario("stream, unpaced", "event", f"{CHAT}?events=200", 16, 0.8, chat(stream=True))
PACED = Scenario(
    "64 streams, 5 ms", "event", f"{CHAT}?events=200&every_us=5000", 64, 1.8, chat(stream=True), 0.5
)
SCENARIOS = (
    PLAIN,
    ALONE,
    FLOOD,
    PACED,
    Scenario("embeddings, 1.4 MB", "request", "/v1/embeddings", 4, 1.2, chat(input="a")),
    Scenario("speech, 200 kB", "request", "/v1/audio/speech", 2, 0.5, b'{"model": "kokoro"}'),
    Scenario("upload, 10 MB", "request", UPLOAD, 2, 0.85, form(10_000_000), keep=False),
)


# ----------------------------------------------------------------------------- what is running


@dataclass
class Server:
    """A program that answers at *port*."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        """The processes of this server."""
        found = [self.process.pid]
        for pid in found:
            for listed in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, listed.read_text().split())
        return found

    def cpu_ns(self) -> int:
        """What all its threads got of the processor."""
        files = (f for pid in self.pids() for f in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(file.read_text().split()[0]) for file in files)

    def pss_kb(self) -> int:
        """The memory of its last worker; what it shares is divided by those who share it."""
        text = Path(f"/proc/{self.pids()[-1]}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


class Lab:
    """The two programs in C, the folder that all is in, and the cores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cores = os.sched_getaffinity(0)
        self.core = quietest(cores)
        self.others = cores - {self.core} or cores
        for name in ("stub", "load"):
            source = HERE / f"gateway_{name}.c"
            subprocess.run(["cc", "-O2", "-o", folder / name, source], check=True)
        self.backend = free_port()

    @contextmanager
    def server(
        self,
        name: str,
        command: Sequence[str | Path],
        port: int,
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Server]:
        """Run *command* until it is no longer wanted."""
        cores = self.others if name == "stub" else {self.core}
        with (
            (self.folder / f"{name}.log").open("wb") as log,
            subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                env={**os.environ, **(env or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            ) as process,
        ):
            try:
                await_listener(port, process, Path(log.name))
                yield Server(name, port, process)
            finally:
                process.terminate()

    def ask(self, server: Server, scenario: Scenario, seconds: float, requests: int = 0) -> Sample:
        """What the load of *scenario* costs *server*."""
        file = self.folder / "request"
        file.write_bytes(scenario.request())
        words = (server.port, scenario.clients, seconds, requests, int(scenario.keep), file)
        before, busy, began = server.cpu_ns(), busy_ns(self.core), time.monotonic()
        command = [str(self.folder / "load"), *map(str, words)]
        found = subprocess.run(
            command,
            check=True,
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self.others),
        )
        took, cpu = time.monotonic() - began, server.cpu_ns() - before
        answers, failed, received, p50, _ = map(int, found.stdout.split())
        if failed or not answers:
            why = found.stderr.decode(errors="replace")
            raise SystemExit(f"{server.name}, {scenario.name}: {failed} of {answers} failed\n{why}")
        units = scenario.units(answers, received)
        foreign = 0.0 if server.name == "stub" else (busy_ns(self.core) - busy - cpu) / took / 1e9
        return Sample(cpu / units / 1000, units / took, p50, foreign)


@dataclass(frozen=True)
class Sample:
    """Microseconds of CPU for a unit, units a second, and the median answer in microseconds.

    *foreign* is the part of the core's time that others took.
    """

    cpu_us: float
    rate: float
    p50_us: float
    foreign: float


def busy_ns(core: int) -> float:
    """How long *core* was not idle, or was taken from this machine, since the start."""
    lines = Path("/proc/stat").read_text().splitlines()
    fields = next(line.split()[1:9] for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _io, *interrupts = map(int, fields)
    return (user + nice + system + sum(interrupts)) * 1e9 / os.sysconf("SC_CLK_TCK")


def quietest(cores: set[int]) -> int:
    """The one of *cores* on which least goes on just now."""
    before = {core: busy_ns(core) for core in cores}
    time.sleep(0.5)
    return min(cores, key=lambda core: (busy_ns(core) - before[core], -core))


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def await_listener(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until *process*, which writes *log*, listens at *port*."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens at port {port}: {process.args!r}\n{log.read_text()[-2000:]}")


def nginx(lab: Lab, port: int) -> tuple[Sequence[str | Path], dict[str, str]]:
    """Its command line and environment."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {lab.folder}/{kind};" for kind in kinds)
    config = lab.folder / "nginx.conf"
    config.write_text(
        NGINX.format(folder=lab.folder, temporary=temporary, backend=lab.backend, port=port)
    )
    return ["nginx", "-c", config], {}


def spark(lab: Lab, port: int) -> tuple[Sequence[str | Path], dict[str, str]]:
    """Ours, with all that is installed."""
    (lab.folder / "spark.toml").write_text(SPARK.format(backend=lab.backend, port=port))
    return [sys.executable, "-m", "spark_core_cli", "serve"], {}


def bare(lab: Lab, port: int) -> tuple[Sequence[str | Path], dict[str, str]]:
    """Falcon and httpx."""
    words = f"-k asgi -w 1 --no-control-socket --pythonpath {HERE} -b 127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", *words.split(), "gateway_httpx:app"]
    return command, {"BACKEND": f"http://127.0.0.1:{lab.backend}"}


def litellm(lab: Lab, port: int) -> tuple[Sequence[str | Path], dict[str, str]]:
    """LiteLLM, from the package registry."""
    home = lab.folder / "litellm"
    venv.create(home, with_pip=True)
    subprocess.run([home / "bin/pip", "install", "-q", "litellm[proxy]"], check=True)
    (lab.folder / "litellm.yaml").write_text(LITELLM.format(backend=lab.backend))
    words = f"--config litellm.yaml --host 127.0.0.1 --port {port} --num_workers 1"
    return [home / "bin/litellm", *words.split()], {"LITELLM_MASTER_KEY": KEY}


# --------------------------------------------------------------------------------- measuring

Samples = dict[tuple[str, str], list[Sample]]


def measure(
    lab: Lab, stub: Server, servers: Sequence[Server], scenarios: Sequence[Scenario], rounds: int
) -> Samples:
    """All *scenarios* in turn, *rounds* times over; the stub's are those without a gateway."""
    found: Samples = {}
    for server in servers:
        for scenario in scenarios:  # connections, and what is imported on first use
            lab.ask(server, scenario, 0.1)
    for turn in range(rounds):
        for scenario in scenarios:
            order = [*servers, stub]
            for server in order[turn % len(order) :] + order[: turn % len(order)]:
                seconds = scenario.seconds / 2 if server is stub else scenario.seconds
                sample = lab.ask(server, scenario, seconds)
                found.setdefault((scenario.name, server.name), []).append(sample)
    every = [sample for samples in found.values() for sample in samples]
    quiet = sum(sample.foreign <= FOREIGN for sample in every)
    print(f"\n{quiet} of {len(every)} samples were taken while others left the core alone")
    return {key: clean(samples) for key, samples in found.items()}


def clean(samples: list[Sample]) -> list[Sample]:
    """Those of *samples* that others left alone; the best three where there are fewer."""
    ranked = sorted(samples, key=lambda sample: sample.foreign)
    return [s for i, s in enumerate(ranked) if i < 3 or s.foreign <= FOREIGN]


def cost(samples: Samples, scenario: Scenario, name: str, best: bool = False) -> float:
    """What *name* takes: CPU, or time beyond that without a gateway; the median, or the least."""
    of = min if best else median
    if not scenario.latency:
        return of(sample.cpu_us for sample in samples[scenario.name, name])
    alone, through = (
        of(sample.p50_us for sample in samples[scenario.name, each]) for each in ("stub", name)
    )
    return through - alone


def ratio(samples: Samples, scenario: Scenario, name: str) -> str:
    """What *name* takes, in nginx's; of the medians, and of the least of each."""
    medians, least = (
        cost(samples, scenario, name, best) / cost(samples, scenario, "nginx", best)
        for best in (False, True)
    )
    return f"{medians:.2f} ({least:.2f})"


def report(samples: Samples, names: Sequence[str], scenarios: Sequence[Scenario]) -> None:
    """Print it all."""
    rows = []
    for s in scenarios:
        for name in names:
            each = [sample.cpu_us for sample in samples[s.name, name]]
            rate = median(sample.rate for sample in samples[s.name, name])
            latency = f"{cost(samples, s, name):.0f}" if s.latency else ""
            span = f"{min(each):.1f} - {max(each):.1f}"
            what = f"{s.name}: {name}"
            rows.append(
                (what, f"{median(each):.1f}", span, f"per {s.unit}", f"{rate:,.0f}", latency)
            )
    show(
        "CPU in microseconds",
        ("scenario: server", "median", "least - most", "", "units/s", "added p50 us"),
        rows,
    )
    rows_of_ratios = []
    for s in scenarios:
        what = "added p50" if s.latency else "CPU"
        cells = (ratio(samples, s, name) for name in names if name != "nginx")
        rows_of_ratios.append((f"{s.name}: {what}", *cells, f"at most {s.wanted}"))
    others = [name for name in names if name != "nginx"]
    show("In nginx's: medians (least)", ("scenario", *others, "wanted of spark"), rows_of_ratios)
    rates = []
    for s in scenarios:
        most = max(sample.rate for name in names for sample in samples[s.name, name])
        direct = median(sample.rate for sample in samples[s.name, "stub"])
        rates.append((s.name, f"{direct:,.0f}", f"{most:,.0f}"))
    show(
        "What the two C programs do alone", ("scenario", "units/s", "most through a server"), rates
    )


def memory(lab: Lab, server: Server, idle: int, connections: int) -> None:
    """Print what a worker takes, and took when *idle*, and what each connection leaves behind."""
    loaded = server.pss_kb()
    visitors = replace(PLAIN, keep=False)
    lab.ask(server, visitors, 60, connections // 10)
    before = server.pss_kb()
    lab.ask(server, visitors, 60, connections)
    after = server.pss_kb()
    rows = (
        ("PSS of a worker with every plugin, idle, MB", f"{idle / 1024:.1f}", "at most 60"),
        ("PSS of it after the load above, MB", f"{loaded / 1024:.1f}", ""),
        (
            f"kB more for each of {connections:,} connections",
            f"{(after - before) / connections:.3f}",
            "under 0.1",
        ),
    )
    show("Memory of spark serve", ("", "measured", "wanted"), rows)


def cancellation(lab: Lab, server: Server, times: int) -> None:
    """Print how soon the backend is told that a client left its stream."""
    took = []
    scenario = Scenario("", "event", f"{CHAT}?events=100000&every_us=5000", 1, 0, chat(stream=True))
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(scenario.request())
            while b"data:" not in client.recv(65536):
                pass
            left = time.monotonic()
        time.sleep(0.3)
        with urlopen(f"http://127.0.0.1:{lab.backend}/left") as answer:
            took.append(float(answer.read()) - left)
    measured = f"{median(took) * 1000:.1f} (at most {max(took) * 1000:.1f})"
    if min(took) < 0:
        measured = "not within 300"
    show(
        f"A client leaves, {times} times",
        ("", "measured", "wanted"),
        [("ms until the backend is let go", measured, "at most 200")],
    )


def run(quick: bool, with_litellm: bool, only: Sequence[str], rounds: int) -> None:
    """Measure everything, or *only* some scenarios, and print it."""
    kinds = {"nginx": nginx, "litellm": litellm} if with_litellm else {}
    kinds = kinds or {"nginx": nginx, "spark": spark, "falcon+httpx": bare}
    scenarios: Sequence[Scenario] = (PLAIN, ALONE) if with_litellm else SCENARIOS
    if only:
        scenarios = [s for s in scenarios if any(part in s.name for part in only)]
    with TemporaryDirectory(prefix="spark-bench-") as name, ExitStack() as stack:
        lab = Lab(Path(name))
        stub = stack.enter_context(
            lab.server("stub", [lab.folder / "stub", str(lab.backend)], lab.backend)
        )
        servers = []
        for kind, command in kinds.items():
            port = free_port()
            words, env = command(lab, port)
            servers.append(stack.enter_context(lab.server(kind, words, port, env)))
        time.sleep(2)  # some listen before they have loaded everything
        idle = servers[1].pss_kb()
        report(measure(lab, stub, servers, scenarios, rounds), [*kinds], scenarios)
        if not with_litellm and not only:
            memory(lab, servers[1], idle, 3_000 if quick else 30_000)
            cancellation(lab, servers[1], 3 if quick else 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two rounds, fewer connections")
    parser.add_argument("--rounds", type=int, help="how often each server has its turn")
    parser.add_argument("--only", action="append", default=[], help="part of a scenario's name")
    parser.add_argument("--litellm", action="store_true", help="LiteLLM instead, with nginx")
    given = parser.parse_args()
    for needed in ("cc", "nginx"):
        if shutil.which(needed) is None:
            print(f"left out: {needed} is not installed")
            return
    run(given.quick, given.litellm, given.only, given.rounds or (2 if given.quick else 8))


if __name__ == "__main__":
    main()
