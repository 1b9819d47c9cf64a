"""Operations: everything that hosts need to know is in one typed function."""

from __future__ import annotations

import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from spark_core.contracts.embedding import Embedder
from spark_core.errors import PluginError
from spark_core.operations import Effect, Empty, Operation, Progress, needs_of
from spark_core.state import Leases


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


class Step(BaseModel):
    number: int


async def ask(request: Question, embedder: Embedder, leases: Leases | None) -> Answer:
    """Ask a question.

    And wait for the answer.
    """
    return Answer(text=request.text)


async def now() -> Answer:
    return Answer(text="now")


async def work(request: Question, progress: Progress) -> AsyncIterator[Step | Answer]:
    yield Step(number=1)


def read(handler: Callable[..., Any], name: str = "ask") -> Operation:
    return Operation(name, handler, Effect.READ)


def test_the_signature_says_it_all() -> None:
    """Request, result and needs come from the handler's annotations."""
    operation = read(ask)
    assert operation.takes_request
    assert operation.request is Question
    assert operation.response == (Answer,)
    assert operation.needs == {"embedder": Embedder, "leases": Leases | None}
    assert not operation.streams
    assert not operation.reports_progress


def test_the_docstring_is_the_help() -> None:
    """Its first line is the summary; where there is none, the name stands in."""
    assert read(ask).summary == "Ask a question."
    assert read(ask).description.endswith("And wait for the answer.")
    assert (read(now, "time.now").summary, read(now).description) == ("time.now", "")


def test_a_request_is_optional() -> None:
    """A handler without one takes the empty request."""
    operation = read(now)
    assert not operation.takes_request
    assert operation.request is Empty
    assert operation.needs == {}


def test_the_request_is_known_by_its_name() -> None:
    """Wherever it stands in the signature."""

    async def late(embedder: Embedder, request: Question) -> Answer:
        return Answer(text=request.text)

    operation = read(late)
    assert operation.takes_request
    assert operation.request is Question
    assert operation.needs == {"embedder": Embedder}


@pytest.mark.parametrize(
    "kind", [AsyncIterator, AsyncGenerator, typing.AsyncIterator, typing.AsyncIterable]
)
def test_an_async_iterator_streams(kind: Any) -> None:
    """The models of a stream are those of all its events."""

    async def events() -> Any:
        yield Step(number=1)

    arguments = (Step | Answer, None) if kind is AsyncGenerator else Step | Answer
    events.__annotations__["return"] = kind[arguments]
    operation = read(events)
    assert operation.streams
    assert operation.response == (Step, Answer)


def test_long_work_reports_progress() -> None:
    """It says so by needing somebody to tell."""
    assert read(work).reports_progress


async def quiet(progress: Progress | None) -> Answer:
    return Answer(text="")


async def old(progress: typing.Optional[Progress]) -> Answer:  # noqa: UP045
    return Answer(text="")


@pytest.mark.parametrize("handler", [quiet, old])
def test_who_may_report_progress_reports_it(handler: Callable[..., Any]) -> None:
    """A need that may stay unfilled is one, too."""
    assert read(handler).reports_progress


@pytest.mark.parametrize(
    ("name", "path"),
    [("search", "/api/search"), ("ingest.backfill", "/api/ingest/backfill")],
)
def test_the_route_follows_from_the_name(name: str, path: str) -> None:
    """Groups become folders, unless the operation names another path."""
    assert read(now, name).path == path
    assert Operation(name, now, Effect.READ, path="/x").path == "/x"


@pytest.mark.parametrize("name", ["", ".", "a..b", "a b", "a/b", ".a", "a.", "_", "a-b", "../x"])
def test_a_name_is_words_and_dots(name: str) -> None:
    """It becomes a path and a command, so nothing else is let through."""
    with pytest.raises(PluginError, match="not made of words and dots"):
        read(now, name)


# ------------------------------------------------------------------------- what is no operation


async def no_result(request: Question):  # type: ignore[no-untyped-def]
    ...


async def text_result(request: Question) -> str:
    return request.text


async def nothing(request: Question) -> None: ...


async def untyped_request(request) -> Answer: ...  # type: ignore[no-untyped-def, empty-body]


async def dict_request(request: dict[str, Any]) -> Answer: ...  # type: ignore[empty-body]


async def untyped_need(request: Question, store) -> Answer: ...  # type: ignore[no-untyped-def, empty-body]


async def unknown_need(request: Question, store: Nowhere) -> Answer: ...  # type: ignore[name-defined, empty-body] # noqa: F821


async def bare_stream() -> typing.AsyncIterator: ...  # type: ignore[type-arg, empty-body]


async def text_stream() -> AsyncIterator[str]:
    yield "text"


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (no_result, "is not a pydantic model"),
        (text_result, "is not a pydantic model"),
        (nothing, "is not a pydantic model"),
        (untyped_request, "parameter request has no annotation"),
        (dict_request, "is not a pydantic model"),
        (untyped_need, "parameter store has no annotation"),
        (unknown_need, "'Nowhere' is not defined"),
        (bare_stream, "is not a pydantic model"),
        (text_stream, "is not a pydantic model"),
    ],
)
def test_a_bad_signature_fails_where_the_plugin_is_loaded(
    handler: Callable[..., Any], reason: str
) -> None:
    """What cannot be presented is refused at once, and the error says why."""
    with pytest.raises(PluginError, match=reason):
        read(handler)


# -------------------------------------------------------------------------------------- needs


def test_needs_of_an_opener() -> None:
    """A function, an async context manager and a class are asked alike."""

    @asynccontextmanager
    async def open_it(leases: Leases) -> AsyncIterator[object]:
        yield object()

    class Base(AbstractAsyncContextManager[object]):
        def __init__(self, leases: Leases) -> None: ...

        async def __aexit__(self, *_: object) -> None: ...

    class Derived(Base): ...

    class Plain: ...

    assert needs_of(open_it) == {"leases": Leases}
    assert needs_of(Base) == needs_of(Derived) == {"leases": Leases}
    assert needs_of(Plain) == {}


def test_a_bad_annotation_is_the_plugins_error() -> None:
    """Openers are checked like operations."""
    with pytest.raises(PluginError, match="unknown_need: name 'Nowhere' is not defined"):
        needs_of(unknown_need)
