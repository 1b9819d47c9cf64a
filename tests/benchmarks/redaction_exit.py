"""What the guarded exit adds to a streamed answer, for each of its pieces.

::

    python tests/benchmarks/redaction_exit.py [--quick]

A stand-in for a model outside says a piece every few milliseconds, each with the time it was sent
at, and names people by their placeholders. One worker of ``spark serve`` passes the same pieces on
twice: as a plain relay does, and restored by the exit. What a piece takes from the model to the
client, straight and through either, in turn; what is added is the difference of medians. Beside it
the least there is: what restoring a piece takes in itself, without any network.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles

import httpx
from tables import show

#: Seconds between two pieces: eighty tokens in a second are a fast model.
PAUSE = 0.0125

TEXT = (
    "Please tell Ottilie Kranzfeld (ottilie@kranzfeld.example, +420 601 555 214) that the pump of "
    "Quorrin Pumpworks is paid by card 4111 1111 1111 1111."
)

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(content: str, finish: str | None = None) -> bytes:
    """One event, which tells when it was sent."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    told = {"id": "c", "object": "chat.completion.chunk", "model": "far", "choices": [choice]}
    return f"data: {json.dumps({**told, 'sent': time.perf_counter()})}\n\n".encode()


def words(text: str) -> Iterator[str]:
    """What a model would say of *text*, a token at a time, without an end."""
    while True:
        yield from re.findall(r"\W?\w{1,4}|\W", text)


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: int) -> None:
    """Answer requests on one connection, each with so many *pieces*."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            sized = re.search(rb"content-length: (\d+)", head.lower())
            if sized is None:  # a probe
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                continue
            body = json.loads(await reader.readexactly(int(sized[1])))
            writer.write(HEAD)
            said = words(body["messages"][-1]["content"])
            for _ in range(pieces):
                await asyncio.sleep(PAUSE)
                told = event(next(said))
                writer.write(b"%x\r\n%b\r\n" % (len(told), told))
            end = event("", "stop") + b"data: [DONE]\n\n"
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@asynccontextmanager
async def model(pieces: int) -> AsyncIterator[str]:
    """The stand-in; its address."""
    server = await asyncio.start_server(lambda r, w: say(r, w, pieces), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def served(url: str) -> Iterator[str]:
    """The address of ``spark serve`` in front of the model, in both ways."""
    toml = (
        f'[plugins.vllm]\nurl = "{url}"\nmodels = ["far"]\n'
        f'[plugins.redaction.frontier]\nurl = "{url}/v1"\nmodels = ["far"]\n'
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "spark.toml").write_text(toml)
        command = [sys.executable, "-m", "spark_core_cli", "serve", "--port=0", "--workers=1"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            try:
                yield found[0]
            finally:
                server.terminate()


async def latencies(http: httpx.AsyncClient, url: str) -> list[float]:
    """The milliseconds that each piece took, of one answer."""
    body = {"model": "far", "stream": True, "messages": [{"role": "user", "content": TEXT}]}
    took = []
    async with http.stream("POST", url, json=body, timeout=60) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                took.append((time.perf_counter() - json.loads(line[6:])["sent"]) * 1000)
    return took


def alone(pieces: int) -> float:
    """The milliseconds that restoring one piece takes, all else left out."""
    from spark_core_redaction.exit.events import EventReader
    from spark_core_redaction.exit.replies import Replies
    from spark_core_redaction.exit.streams import ChatStream, said_for
    from spark_core_redaction.forms import Form
    from spark_core_redaction.restoring import Restorer

    forms = {f"PERSON_{n}": Form(f"Person {n}") for n in range(1000)}
    stream, reader = ChatStream(Replies(Restorer(forms), {}, json=False)), EventReader()
    said = words("Dear [PERSON_7], tell [PERSON_8_GIVEN] of the pump. ")
    took = []
    for _ in range(pieces):
        piece = event(next(said))
        began = time.perf_counter()
        for each in reader.feed(piece):
            said_for(each, stream)
        took.append((time.perf_counter() - began) * 1000)
    return median(took)


async def run(quick: bool = False) -> None:
    """Measure and print."""
    pieces, rounds = (100, 2) if quick else (400, 5)
    took: dict[str, list[float]] = {"straight": [], "relayed": [], "restored by the exit": []}
    async with model(pieces) as url, httpx.AsyncClient(trust_env=False) as http:
        with served(url) as spark:
            ways = {
                "straight": f"{url}/v1/chat/completions",
                "relayed": f"{spark}/v1/chat/completions",
                "restored by the exit": f"{spark}/v1/frontier/chat/completions",
            }
            for way in ways.values():
                await latencies(http, way)  # the first opens and imports
            for _ in range(rounds):
                for name, way in ways.items():
                    took[name] += await latencies(http, way)
    straight = median(took["straight"])
    rows = [
        (name, f"{median(found):.3f}", f"{quantiles(found, n=100)[98]:.3f}",
         f"{median(found) - straight:.3f}")
        for name, found in took.items()
    ]  # fmt: skip
    rows.append(("restoring alone, in a process", f"{alone(pieces * rounds):.3f}", "", ""))
    columns = ("", "median ms", "99 % ms", "added, median ms")
    show("A piece of a streamed answer (target: the exit adds less than 1 ms)", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer pieces")
    asyncio.run(run(parser.parse_args().quick))


if __name__ == "__main__":
    main()
