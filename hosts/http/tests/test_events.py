"""Long work told as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel
from spark_core_http.events import EventStream, Feed, events

from spark_core import Effect, Operation, Progress
from spark_core.errors import BackendError, NotFound
from spark_core.operations import Empty

#: Of what has only just begun.
UNKNOWN = {"rate": None, "seconds_left": None}

pytestmark = pytest.mark.anyio

SSE = {"Accept": "text/event-stream"}


class Sum(BaseModel):
    total: int


class Numbered(BaseModel):
    id: int


class Named(BaseModel):
    id: str


class How(BaseModel):
    end: str = "well"
    text: str = ""


async def work(request: How, progress: Progress) -> Sum:
    """Work and tell how far it is."""
    progress.update("adding", done=1, total=2)
    progress.update("adding", done=2, total=2, unit="numbers")
    if request.end == "badly":
        raise BackendError("it broke", hint="mend it")
    if request.end == "unexpectedly":
        raise ValueError(request.text)
    return Sum(total=3)


async def count(request: Empty) -> AsyncIterator[Sum]:
    """Count."""
    for number in range(3):
        yield Sum(total=number)


async def nothing(request: Empty) -> AsyncIterator[Sum]:
    """Yield nothing."""
    for number in ():
        yield Sum(total=number)


async def missing(request: Empty) -> AsyncIterator[Sum]:
    """Look for what is not there."""
    raise NotFound("gone")
    yield Sum(total=0)


async def plain(request: Empty) -> Sum:
    """Answer at once."""
    return Sum(total=0)


WORK = Operation("work", work, Effect.READ)
COUNT = Operation("count", count, Effect.READ, method="GET")
NOTHING = Operation("nothing", nothing, Effect.READ, method="GET")
MISSING = Operation("missing", missing, Effect.READ, method="GET")
PLAIN = Operation("plain", plain, Effect.READ, method="GET")


def parsed(text: str) -> list[tuple[str, Any]]:
    """The events of *text*: their names and data; comments are left out."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_progress_is_told_the_latest_only_and_then_the_result(open_client) -> None:
    async with open_client(WORK) as client:
        answer = await client.simulate_post("/api/work", headers=SSE)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert parsed(answer.text) == [
        ("progress", {"phase": "adding", "done": 2, "total": 2, "unit": "numbers", **UNKNOWN}),
        ("result", {"total": 3}),
    ]


async def test_without_accept_the_answer_is_the_final_json(open_client) -> None:
    async with open_client(WORK, COUNT) as client:
        worked = await client.simulate_post("/api/work", headers={"Accept": "*/*"})
        counted = await client.simulate_get("/api/count")
    assert worked.json == {"total": 3}
    assert counted.json == {"total": 2}


async def test_each_event_of_a_stream_is_told_and_the_last_again_as_result(open_client) -> None:
    async with open_client(COUNT) as client:
        answer = await client.simulate_get("/api/count", headers=SSE)
    numbers = [("message", {"total": number}) for number in range(3)]
    assert parsed(answer.text) == [*numbers, ("result", {"total": 2})]


async def test_a_stream_without_events_has_no_result(open_client) -> None:
    async with open_client(NOTHING) as client:
        told = await client.simulate_get("/api/nothing", headers=SSE)
        plain = await client.simulate_get("/api/nothing")
    assert parsed(told.text) == [("result", None)]
    assert (plain.status_code, plain.text) == (204, "")


async def test_an_operation_without_progress_answers_with_json_always(open_client) -> None:
    async with open_client(PLAIN) as client:
        answer = await client.simulate_get("/api/plain", headers=SSE)
    assert answer.json == {"total": 0}


async def test_a_failure_is_told_as_a_problem(open_client) -> None:
    async with open_client(WORK) as client:
        answer = await client.simulate_post("/api/work", headers=SSE, json={"end": "badly"})
    name, problem = parsed(answer.text)[-1]
    assert (name, problem["status"], problem["hint"]) == ("error", 502, "mend it")


async def test_a_failure_before_anything_was_told_has_its_status(open_client) -> None:
    async with open_client(MISSING) as client:
        answer = await client.simulate_get("/api/missing", headers=SSE)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unexpected_failure_tells_nothing_and_is_logged(open_client, caplog) -> None:
    async with open_client(WORK) as client:
        request = {"end": "unexpectedly", "text": "private"}
        answer = await client.simulate_post("/api/work", headers=SSE, json=request)
    name, problem = parsed(answer.text)[-1]
    assert (name, problem["status"]) == ("error", 500)
    assert "builtins.ValueError" in caplog.text
    assert "private" not in answer.text + caplog.text


async def test_a_wrong_request_is_refused_before_anything_is_streamed(open_client) -> None:
    async with open_client(WORK) as client:
        answer = await client.simulate_post("/api/work", headers=SSE, json={"ned": 1})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_head_runs_nothing(open_client) -> None:
    async with open_client(COUNT) as client:
        answer = await client.simulate_head("/api/count", headers=SSE)
    assert answer.headers["content-type"] == "text/event-stream"


# ------------------------------------------------------------------------- the events themselves


def ignore(error: BaseException) -> None:
    """For work that does not fail, or may."""


async def test_what_fails_before_it_is_under_way_is_no_stream() -> None:
    async def failing(feed: Feed) -> Sum:
        raise NotFound("gone")

    with pytest.raises(NotFound):
        await anext(events(failing, ignore))


async def test_an_event_with_a_number_is_told_with_it() -> None:
    async def numbered(feed: Feed) -> None:
        await feed.put(Numbered(id=7))
        await feed.put(Named(id="seven"))

    told = [event async for event in events(numbered, ignore)]
    assert told[1] == b'id: 7\nevent: message\ndata: {"id":7}\n\n'
    assert told[2].startswith(b"event: message\n")


async def test_the_client_hears_at_once_and_pings_while_nothing_happens() -> None:
    go_on = asyncio.Event()

    async def quiet(feed: Feed) -> Sum:
        await go_on.wait()
        return Sum(total=1)

    stream = events(quiet, ignore, ping=0.001)
    assert [await anext(stream) for _ in range(3)] == [b": ping\n\n"] * 3
    go_on.set()
    told = [event async for event in stream]
    assert told[-1] == b'event: result\ndata: {"total":1}\n\n'


async def test_work_waits_for_a_client_that_is_slow() -> None:
    made = []

    async def eager(feed: Feed) -> Sum:
        for number in range(100):
            made.append(number)
            await feed.put(Sum(total=number))
        return Sum(total=-1)

    stream = events(eager, ignore)
    while b"message" not in await anext(stream):
        pass
    assert len(made) < 5
    await stream.aclose()


@pytest.mark.parametrize("heard", [1, 2, 3])
async def test_closing_the_stream_cancels_the_work_and_waits_for_it(heard: int) -> None:
    ended = []

    async def endless(feed: Feed) -> Sum:
        try:
            for number in range(10**9):
                feed.update("counting", done=number)
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            ended.append(True)
        return Sum(total=0)

    stream = EventStream(events(endless, ignore))
    for _ in range(heard):
        await anext(stream)
    await asyncio.sleep(0)
    await stream.close()
    assert ended == [True]


@pytest.mark.parametrize("turns", range(4))
async def test_waiting_that_is_cancelled_while_there_is_news_stays_cancelled(turns: int) -> None:
    feed = Feed()
    waiting = asyncio.create_task(feed.wait(60))
    await asyncio.sleep(0)
    feed.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() is not done


async def test_a_stream_that_was_never_heard_starts_nothing() -> None:
    started = []

    async def work(feed: Feed) -> Sum:
        started.append(True)
        return Sum(total=0)

    await EventStream(events(work, ignore)).close()
    await asyncio.sleep(0)
    assert started == []


async def test_the_error_of_the_work_is_heard_of() -> None:
    heard: list[BaseException] = []

    async def failing(feed: Feed) -> Sum:
        feed.update("looking")
        raise NotFound("gone")

    told = [event async for event in events(failing, heard.append)]
    assert b"event: error" in told[-1]
    assert [str(error) for error in heard] == ["gone"]


async def test_work_that_is_cancelled_by_itself_ends_in_an_error() -> None:
    async def cancelled(feed: Feed) -> Sum:
        raise asyncio.CancelledError

    told = [event async for event in events(cancelled, ignore)]
    assert b'"status": 500' in told[-1]
