"""Calling operations: typed, checked, audited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import date
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, assert_type, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

import spark_core
from spark_core.declarations import Resource
from spark_core.errors import Conflict, InvalidRequest, NotFound, Problem, Unavailable
from spark_core.operations import Effect, Empty, Operation, Progress
from spark_core.spark import Caller, Spark, check_request
from spark_core.state import AuditEntry, AuditLog
from spark_core.testing.clock import ManualClock
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = pytest.mark.anyio


class Place(BaseModel):
    city: str = ""
    lines: list[str] = Field(default_factory=list)


class Greeting(BaseModel):
    name: str
    times: int = Field(default=1, ge=1)
    place: Place = Place()
    filter: dict[str, int | bool | list[int]] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def no_shouting(cls, name: str) -> str:
        if name.isupper():
            raise ValueError("please do not shout")
        return name


class Thing:
    """A resource."""


class Greeted(BaseModel):
    text: str


class Step(BaseModel):
    number: int


async def greet(request: Greeting, caller: Caller) -> Greeted:
    """Greet somebody."""
    return Greeted(text=f"{caller.name} greets {request.name}")


async def fail() -> Greeted:
    raise ZeroDivisionError("private text")


async def clash() -> Greeted:
    raise Conflict("it is going on")


async def steps(progress: Progress) -> AsyncIterator[Step | Greeted]:
    """Greet step by step."""
    for number in (1, 2):
        progress.update("greeting", done=number, total=2)
        yield Step(number=number)
    yield Greeted(text="done")


async def typed(request: Empty) -> Greeted:
    return Greeted(text="typed")


async def bare(caller: Caller) -> Greeted:
    return Greeted(text=caller.name)


async def counted(request: Empty) -> AsyncIterator[Step]:
    yield Step(number=1)


async def wait() -> Greeted:
    started.set()
    await asyncio.Event().wait()
    raise AssertionError


started = asyncio.Event()
OPERATIONS = (
    Operation("greet", greet, Effect.READ),
    Operation("greet.write", greet, Effect.WRITE),
    Operation("greet.fail", fail, Effect.WRITE),
    Operation("greet.clash", clash, Effect.OPERATE),
    Operation("greet.steps", steps, Effect.OPERATE),
    Operation("greet.wait", wait, Effect.WRITE),
    Operation("greet.typed", typed, Effect.READ),
    Operation("greet.bare", bare, Effect.READ),
    Operation("greet.counted", counted, Effect.READ),
)
GREETER = plugin("greeter", spark_register_operations=lambda: OPERATIONS)


@pytest.fixture
async def spark(spark_open: SparkOpener) -> AsyncIterator[Spark]:
    started.clear()
    async with spark_open(GREETER) as spark:
        yield spark


async def audited(spark: Spark) -> list[tuple[str, str, str]]:
    """Who did what and how it ended, the newest first."""
    audit = await spark.resolver.get(AuditLog)
    return [(e.actor, e.action, e.outcome) for e in await audit.entries()]


# ------------------------------------------------------------------------------------- calling


async def test_an_operation_is_called_by_name_function_or_itself(spark: Spark) -> None:
    """All three ways lead to the same."""
    request = {"name": "Ada"}
    by_name = await spark.call("greet", request)
    by_itself = await spark.call(OPERATIONS[0], request, caller="bob")
    assert by_name == Greeted(text="python greets Ada")
    assert by_itself == Greeted(text="bob greets Ada")


async def test_a_function_types_its_result(spark: Spark) -> None:
    """The plugin's own function, whatever it takes and whether it streams; mypy reads this."""
    assert_type(await spark.call(typed, Empty()), Greeted)
    assert_type(await spark.call(bare), Greeted)
    assert_type(await spark.call(counted, Empty()), Step | None)
    assert_type([event async for event in spark.stream(counted)], list[Step])
    assert_type([event async for event in spark.stream(typed)], list[Greeted])


async def test_what_does_not_exist_is_not_found(spark: Spark) -> None:
    """The nearest name is told."""
    with pytest.raises(NotFound, match="no operation 'gret'; did you mean 'greet'"):
        await spark.call("gret", {"name": "Ada"})

    async def stranger() -> Greeted: ...  # type: ignore[empty-body]

    with pytest.raises(NotFound, match="stranger is not an installed operation"):
        await spark.call(stranger)  # type: ignore[call-overload, arg-type, unused-ignore]


async def test_a_request_may_be_a_model(spark: Spark) -> None:
    """The operation's own, or another with the same fields."""

    class Other(BaseModel):
        name: str = "Ada"

    for request in (Greeting(name="Ada"), Other(), MappingProxyType({"name": "Ada"})):
        assert (await spark.call("greet", request)).text == "python greets Ada"


# ----------------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("request_", "pointer", "detail"),
    [
        ({}, "/name", "Field required"),
        ({"name": 3}, "/name", "Input should be a valid string"),
        ({"name": "A", "tims": 2}, "/tims", "there is no such field; did you mean 'times'?"),
        ({"name": "A", "times": 0}, "/times", "Input should be greater than or equal to 1"),
        ({"name": "ADA"}, "/name", "please do not shout"),
        ({"name": "Ada", "place": {"cty": 1}}, "/place/cty", "there is no such field"),
        ({"name": "Ada", "place": {"lines": ["a", 2]}}, "/place/lines/1", "valid string"),
        ({"name": "Ada", "place": 3}, "/place", "an object"),
        ({"name": "Ada", "filter": {"a/b~c": "x"}}, "/filter/a~1b~0c", "valid integer"),
        ({"name": "Ada", "filter": {"x": [1, "y"]}}, "/filter/x/1", "valid integer"),
        ([1, 2], "", "an object"),
        ("name", "", "an object"),
    ],
)
async def test_problems_point_into_the_request(
    spark: Spark, request_: Any, pointer: str, detail: str
) -> None:
    """Each has a JSON pointer to what the caller wrote and says what is wrong there."""
    with pytest.raises(InvalidRequest) as caught:
        await spark.call("greet", cast(Any, request_))
    found = {problem.pointer: problem.detail for problem in reversed(caught.value.problems)}
    assert pointer in found
    assert any(detail in p.detail for p in caught.value.problems if p.pointer == pointer)


class Colour(Enum):
    RED = "red"


class Typed(BaseModel):
    """A field of each kind that JSON has no type of its own for, and some that it has."""

    number: int = 0
    share: float = 0.0
    sure: bool = False
    day: date | None = None
    colour: Colour | None = None
    id: UUID | None = None
    path: Path | None = None
    pair: tuple[int, int] | None = None
    tags: set[str] = Field(default_factory=set)
    secret: SecretStr | None = None
    nested: dict[str, int | str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def sure_of_numbers(self) -> Self:
        if self.sure and not self.number:
            raise ValueError("sure of what?")
        return self


async def take(request: Typed) -> Greeted:
    return Greeted(text="")


TAKE = Operation("take", take, Effect.READ)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "5"),
        ("number", 5.5),
        ("number", True),
        ("share", "0.5"),
        ("sure", "true"),
        ("sure", 1),
        ("day", 20_000),
        ("colour", "RED"),
        ("tags", "red"),
        ("nested", {"x": 1.5}),
        ("path", print),
        ("path", "half a pair \ud83d"),
    ],
    ids=ascii,
)
def test_types_are_strict(field: str, value: Any) -> None:
    """What is nearly right is refused, not guessed at."""
    with pytest.raises(InvalidRequest) as caught:
        check_request(TAKE, {field: value})
    assert caught.value.problems[0].pointer.split("/")[1] == field


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("share", 3, 3.0),
        ("day", "2026-01-02", date(2026, 1, 2)),
        ("day", date(2026, 1, 2), date(2026, 1, 2)),
        ("colour", "red", Colour.RED),
        ("colour", Colour.RED, Colour.RED),
        ("id", str(UUID(int=7)), UUID(int=7)),
        ("id", UUID(int=7), UUID(int=7)),
        ("path", "a/b", Path("a/b")),
        ("path", Path("a/b"), Path("a/b")),
        ("pair", [1, 2], (1, 2)),
        ("pair", (1, 2), (1, 2)),
        ("tags", ["a"], {"a"}),
        ("tags", {"a"}, {"a"}),
        ("secret", "hidden", SecretStr("hidden")),
        ("secret", SecretStr("hidden"), SecretStr("hidden")),
        ("nested", MappingProxyType({"x": "5"}), {"x": "5"}),
    ],
    ids=ascii,
)
def test_what_json_writes_as_something_else_is_taken(field: str, value: Any, expected: Any) -> None:
    """As JSON writes it, and as Python has it."""
    assert getattr(check_request(TAKE, {field: value}), field) == expected


def test_what_came_as_text_is_converted() -> None:
    """A query, a path and a command line have nothing but text."""
    text = {"number": "5", "sure": "true", "day": "2026-01-02", "tags": ["a"], "pair": ["1", "2"]}
    expected = Typed(number=5, sure=True, day=date(2026, 1, 2), tags={"a"}, pair=(1, 2))
    assert check_request(TAKE, text=text) == expected


def test_text_does_not_loosen_what_stands_beside_it() -> None:
    """A field of the body is strict, though another came in the path."""
    assert check_request(TAKE, {"share": 1}, text={"number": "5", "sure": "yes"}) == Typed(
        number=5, share=1, sure=True
    )
    with pytest.raises(InvalidRequest) as caught:
        check_request(TAKE, {"share": "1", "nmber": 1}, text={"number": "many"})
    assert [problem.pointer for problem in caught.value.problems] == ["/share", "/nmber", "/number"]
    with pytest.raises(InvalidRequest, match="the request: sure of what"):
        check_request(TAKE, {"sure": True}, text={"number": "0"})


def test_a_request_that_never_ends_is_refused() -> None:
    """A circle in a Python caller's own data is its error, not the program's."""
    circle: dict[str, Any] = {}
    circle["nested"] = circle
    with pytest.raises(InvalidRequest, match="nested: it is not what JSON can hold"):
        check_request(TAKE, circle)


def test_every_problem_is_told_at_once() -> None:
    """The first makes the message, all are listed."""
    with pytest.raises(InvalidRequest) as caught:
        check_request(OPERATIONS[0], {"times": 0, "x": 1})
    assert str(caught.value) == "name: Field required"
    assert caught.value.problems == (
        Problem("/name", "Field required"),
        Problem("/times", "Input should be greater than or equal to 1"),
        Problem("/x", "there is no such field"),
    )


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "filter", "place", "a/b", "~", ""]), inner)
    ),
    max_leaves=8,
)


@given(request=st.dictionaries(st.sampled_from([*Greeting.model_fields, "x"]), json))
def test_every_pointer_leads_somewhere(request: Mapping[str, Any]) -> None:
    """Whatever is sent: a request or problems whose pointers can be followed."""
    for problem in _problems(request):
        _follow(request, problem)


def _problems(request: Mapping[str, Any]) -> tuple[Problem, ...]:
    try:
        check_request(OPERATIONS[0], request)
    except InvalidRequest as error:
        return error.problems
    return ()


def _follow(found: Any, problem: Problem) -> None:
    *way, last = problem.pointer.split("/") if problem.pointer else [""]
    for part in [*way[1:], last] if way else []:
        key = part.replace("~1", "/").replace("~0", "~")
        if problem.detail == "Field required" and part is last:
            return
        found = found[int(key)] if isinstance(found, list) else found[key]


# --------------------------------------------------------------------------------------- audit


async def test_reading_leaves_no_trace(spark: Spark) -> None:
    """What changes nothing is not audited."""
    await spark.call("greet", {"name": "Ada"})
    assert await audited(spark) == []


async def test_writing_is_audited(spark: Spark, spark_clock: ManualClock) -> None:
    """With who did it, when, and that it went well; nothing of the request."""
    await spark.call("greet.write", {"name": "Ada"}, caller="bob")
    [entry] = await (await spark.resolver.get(AuditLog)).entries()
    expected = {"actor": "bob", "action": "greet.write", "outcome": "ok", "resource": ""}
    assert entry == AuditEntry(id=entry.id, at=spark_clock.now(), detail={}, **expected)


@pytest.mark.parametrize(
    ("name", "error", "outcome"),
    [
        ("greet.fail", ZeroDivisionError, "failed: ZeroDivisionError"),
        ("greet.clash", Conflict, "conflict"),
    ],
)
async def test_failing_is_audited(
    spark: Spark, name: str, error: type[Exception], outcome: str
) -> None:
    """By the error's name, never its text, which may be private."""
    with pytest.raises(error):
        await spark.call(name)
    assert await audited(spark) == [("python", name, outcome)]


async def test_cancelling_is_audited(spark: Spark) -> None:
    """What was interrupted may have done half of its work."""
    task = asyncio.create_task(spark.call("greet.wait"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await audited(spark) == [("python", "greet.wait", "interrupted")]


async def test_what_was_refused_is_not_audited(spark: Spark) -> None:
    """A request that does not fit never began."""
    with pytest.raises(InvalidRequest):
        await spark.call("greet.write", {})
    assert await audited(spark) == []


async def test_without_an_audit_nothing_is_written(spark_open: SparkOpener) -> None:
    """Where the state cannot be opened, what would have to be audited does not begin."""
    ran = False

    async def write() -> Greeted:
        nonlocal ran
        ran = True
        return Greeted(text="")

    writer = plugin("w", spark_register_operations=lambda: [Operation("w", write, Effect.WRITE)])
    (spark_open.home / ".spark").write_text("a file in the way")
    async with spark_open(writer) as spark:
        with pytest.raises(Unavailable):
            await spark.call("w")
    assert not ran


# ------------------------------------------------------------------------------------ streaming


class Heard:
    """A progress that listens."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, int, int | None]] = []

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        self.updates.append((phase, done, total))


async def test_a_stream_yields_its_events(spark: Spark) -> None:
    """As they come; calling it gives the last."""
    events = [event async for event in spark.stream("greet.steps")]
    assert events == [Step(number=1), Step(number=2), Greeted(text="done")]
    assert await spark.call("greet.steps") == Greeted(text="done")


async def test_a_plain_operation_is_a_stream_of_one(spark: Spark) -> None:
    """So hosts need only one way."""
    events = [event async for event in spark.stream("greet", {"name": "Ada"})]
    assert events == [Greeted(text="python greets Ada")]


async def test_progress_is_told_to_who_listens(spark: Spark) -> None:
    """And to nobody where nobody does."""
    heard = Heard()
    await spark.call("greet.steps", progress=heard)
    assert heard.updates == [("greeting", 1, 2), ("greeting", 2, 2)]


async def test_who_stops_listening_stops_the_operation(spark: Spark) -> None:
    """The operation is closed with its reader, and the audit tells that it did not end."""
    async with aclosing(spark.stream("greet.steps")) as events:
        assert await anext(events) == Step(number=1)
    assert await audited(spark) == [("python", "greet.steps", "interrupted")]


# --------------------------------------------------------------------------------------- opening


async def test_open_finds_what_is_installed(spark_home: object) -> None:
    """With nothing configured it opens, and core's own operations answer."""
    async with spark_core.open(environ={}) as spark:
        assert "core" in {status.name for status in (await spark.call("plugins")).plugins}
        assert (await spark.call("audit.list")).entries == []
        listed = await spark.call("background")
        assert len(listed.services) == len(spark.plugins.background_services())


async def test_two_folders_share_nothing(spark_open: SparkOpener) -> None:
    """Each data directory has its own state."""
    async with spark_open(GREETER) as spark:
        await spark.call("greet.write", {"name": "Ada"})
        assert (spark_open.home / ".spark" / "state.db").is_file()
    async with spark_open(GREETER, toml='[core]\ndata_directory = "other"') as spark:
        assert await audited(spark) == []


async def test_what_was_opened_is_closed(spark_open: SparkOpener) -> None:
    """Leaving the block closes everything, also after an error in it."""
    closed = asyncio.Event()

    @asynccontextmanager
    async def thing() -> AsyncIterator[Thing]:
        try:
            yield Thing()
        finally:
            closed.set()

    async def fail_inside() -> None:
        offered = plugin("p", spark_register_resources=lambda: [Resource(Thing, thing)])
        async with spark_open(offered) as spark:
            await spark.resolver.get(Thing)
            raise LookupError

    with pytest.raises(LookupError):
        await fail_inside()
    assert closed.is_set()
