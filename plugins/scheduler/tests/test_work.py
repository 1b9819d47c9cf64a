"""What a run does: operations of ours, and calls to a server that keeps us waiting."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from spark_core_scheduler.book import Ended, Run, RunState
from spark_core_scheduler.jobs import Call, Invocation, Planned
from spark_core_scheduler.work import ACTOR, open_worker

from spark_core import Caller, Effect, Operation
from spark_core.errors import NotConfigured, Unavailable
from spark_core.operations import Empty
from spark_core.state import AuditLog
from spark_core.testing.plugins import plugin

from .conftest import Opener

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


def run_of(job: str) -> Run:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    key = f"{job}/{now.isoformat()}"
    return Run("1", job, now, key, RunState.RUNNING, "", 0, 1, "here", now)


@dataclass
class Server:
    """Answers when it is told to, with the status that it is told."""

    port: int = 0
    status: int = 200
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    head: bytes = b""
    body: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        lengths = [h for h in self.head.lower().split(b"\r\n") if h.startswith(b"content-length:")]
        self.body = await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b""
        self.asked.set()
        gone = asyncio.ensure_future(reader.read(1))
        go = asyncio.ensure_future(self.go.wait())
        await asyncio.wait([gone, go], return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.left.set()
        else:
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % self.status)
            await writer.drain()
        for task in (gone, go):
            task.cancel()
        writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/run?which=one"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    server.go.set()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@dataclass
class Doing:
    """A worker, and the audit that it leaves."""

    do: Callable[[Planned, Run], Any]
    audit: AuditLog

    async def __call__(self, job: Planned) -> Ended:
        ended: Ended = await self.do(job, run_of(job.name))
        return ended


Open = Callable[..., Any]


@pytest.fixture
def open_doing(open_spark: Opener) -> Open:
    @asynccontextmanager
    async def doing(*operations: Operation, patience: float = 60) -> AsyncIterator[Doing]:
        offered = plugin("work", spark_register_operations=lambda: operations)
        async with open_spark(offered) as spark, open_worker(spark, patience) as worker:
            yield Doing(worker.do, await spark.resolver.get(AuditLog))

    return doing


def calling(server: Server, timeout: float = 60, **given: Any) -> Planned:
    return Planned("call", "every 1m", Call(server.url, **given), timeout)


# ------------------------------------------------------------------------------- operations


async def test_an_operation_runs_as_the_scheduler_and_is_audited_so(open_doing: Open) -> None:
    """`scheduler@system.local` did it."""
    callers: list[str] = []

    async def write(request: Empty, caller: Caller) -> Empty:
        """Write."""
        callers.append(caller.name)
        return Empty()

    async with open_doing(Operation("store.write", write, Effect.WRITE)) as doing:
        assert await doing(Planned("a", "every 1m", Invocation("store.write"))) == Ended(
            RunState.OK
        )
        [entry] = await doing.audit.entries()
    assert callers == [ACTOR] == [entry.actor] == ["scheduler@system.local"]
    assert (entry.action, entry.outcome) == ("store.write", "ok")


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (Unavailable("it is away"), Ended(RunState.FAILED, "unavailable: it is away")),
        (NotConfigured("no database"), Ended(RunState.SKIPPED, "no database")),
        (LookupError("somebody's text"), Ended(RunState.FAILED, "failed: LookupError")),
        (SystemExit(1), Ended(RunState.FAILED, "failed: RuntimeError")),
        (TimeoutError(), Ended(RunState.FAILED, "failed: TimeoutError")),
    ],
)
async def test_what_an_operation_raises_is_how_it_ended(
    open_doing: Open, error: BaseException, ended: Ended
) -> None:
    async def fail(request: Empty) -> Empty:
        """Fail."""
        raise error

    async with open_doing(Operation("fail", fail, Effect.READ)) as doing:
        assert await doing(Planned("a", "every 1m", Invocation("fail"))) == ended


async def test_e17_an_operation_is_in_flight_until_it_has_ended(open_doing: Open) -> None:
    """Its timeout cancels it; what it does then still counts."""
    cancelled, cleaned = asyncio.Event(), asyncio.Event()

    async def slow(request: Empty) -> Empty:
        """Take long, and long to stop."""
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await cleaned.wait()
        return Empty()

    async with open_doing(Operation("slow", slow, Effect.READ)) as doing:
        job = Planned("a", "every 1m", Invocation("slow"), timeout=0.01)
        doing_it = asyncio.create_task(doing(job))
        await cancelled.wait()
        assert not doing_it.done()
        cleaned.set()
        assert await doing_it == Ended(RunState.TIMED_OUT, "cancelled after 0.01 s")


class Query(BaseModel):
    word: str


async def test_an_operation_gets_its_request(open_doing: Open) -> None:
    words: list[str] = []

    async def ask(request: Query) -> Empty:
        """Ask."""
        words.append(request.word)
        return Empty()

    async with open_doing(Operation("ask", ask, Effect.READ)) as doing:
        await doing(Planned("a", "every 1m", Invocation("ask", {"word": "pump"})))
        wrong = await doing(Planned("a", "every 1m", Invocation("ask", {"wort": "pump"})))
    assert words == ["pump"]
    assert wrong.outcome.startswith("invalid-request")


# ------------------------------------------------------------------------------------- calls


async def test_a_call_shows_its_key_and_token_and_is_audited(
    open_doing: Open, server: Server
) -> None:
    async with open_doing() as doing:
        job = calling(server, method="PUT", body={"a": 1}, token=SecretStr("secret"))
        assert await doing(job) == Ended(RunState.OK, "status 200")
        [entry] = await doing.audit.entries()
    lines = server.head.decode().split("\r\n")
    assert lines[0] == "PUT /run?which=one HTTP/1.1"
    assert "Idempotency-Key: call/2030-01-01T00:00:00+00:00" in lines
    assert "Authorization: Bearer secret" in lines
    assert server.body == b'{"a":1}'
    assert (entry.actor, entry.action, entry.resource) == (ACTOR, "scheduler.call", "job:call")
    assert entry.outcome == "ok"


async def test_without_a_token_no_header_is_sent(open_doing: Open, server: Server) -> None:
    async with open_doing() as doing:
        await doing(calling(server))
    assert b"authorization" not in server.head.lower()


async def test_e16_a_token_that_is_not_ascii_is_sent_as_it_is(
    open_doing: Open, server: Server
) -> None:
    async with open_doing() as doing:
        assert (await doing(calling(server, token=SecretStr("žeton")))).state is RunState.OK
    assert "Authorization: Bearer žeton".encode() in server.head


@pytest.mark.parametrize(
    ("status", "state"),
    [(204, "ok"), (302, "ok"), (400, "failed"), (409, "failed"), (503, "failed")],
)
async def test_what_is_less_than_400_has_succeeded(
    open_doing: Open, server: Server, status: int, state: str
) -> None:
    server.status = status
    async with open_doing() as doing:
        assert await doing(calling(server)) == Ended(RunState(state), f"status {status}")


async def test_where_nobody_listens_it_has_failed(open_doing: Open) -> None:
    async with open_doing() as doing:
        job = Planned("call", "every 1m", Call("http://127.0.0.1:1/x"))
        assert await doing(job) == Ended(RunState.FAILED, "ConnectError")


async def test_a_call_that_cannot_even_be_made_is_audited_as_failed(open_doing: Open) -> None:
    async with open_doing() as doing:
        ended = await doing(Planned("call", "every 1m", Call("http://host:port/")))
        assert (ended.state, ended.outcome) == (RunState.FAILED, "failed: InvalidURL")
        [entry] = await doing.audit.entries()
        assert (entry.outcome, entry.detail["outcome"]) == ("failed", "failed: InvalidURL")


async def test_e16_a_token_of_any_bytes_is_sent_as_it_is(open_doing: Open, server: Server) -> None:
    """As the environment of a process may have it."""
    async with open_doing() as doing:
        await doing(calling(server, token=SecretStr(os.fsdecode(b"secret\xff"))))
    assert b"Authorization: Bearer secret\xff\r\n" in server.head


async def test_e17_a_call_is_in_flight_while_the_server_still_works(
    open_doing: Open, server: Server
) -> None:
    """Its timeout makes it a failure, but frees nothing: the other side is at work."""
    server.go.clear()
    async with open_doing() as doing:
        doing_it = asyncio.create_task(doing(calling(server, timeout=0.01)))
        await server.asked.wait()
        await asyncio.sleep(0.05)
        assert not doing_it.done()
        server.go.set()
        ended = Ended(RunState.TIMED_OUT, "no answer within 0.01 s; status 200 came later")
        assert await doing_it == ended


async def test_e17_patience_has_an_end(open_doing: Open, server: Server) -> None:
    """A server that never answers is left, and may be called again."""
    server.go.clear()
    async with open_doing(patience=0.05) as doing:
        ended = await doing(calling(server, timeout=0.01))
        assert ended == Ended(RunState.TIMED_OUT, "no answer within 0.01 s")
        await server.left.wait()


async def test_a_call_that_cannot_be_audited_was_made_all_the_same(
    open_doing: Open, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*words: object, **more: object) -> int:
        raise Unavailable("the state is away")

    async with open_doing() as doing:
        doing.audit.record = away
        assert await doing(calling(server)) == Ended(RunState.OK, "status 200")
    assert "not in the audit" in caplog.text


async def test_a_call_that_is_cancelled_is_broken_off(open_doing: Open, server: Server) -> None:
    server.go.clear()
    async with open_doing() as doing:
        doing_it = asyncio.create_task(doing(calling(server)))
        await server.asked.wait()
        doing_it.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doing_it
        await server.left.wait()
        [entry] = await doing.audit.entries()
    assert entry.outcome == "interrupted"
