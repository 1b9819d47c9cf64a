"""What operations tell of their changes, and taking them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from spark_core.changes import Change, Undone
from spark_core.errors import Conflict, NotFound, PluginError, Unavailable
from spark_core.operations import Effect, Empty, Operation
from spark_core.spark import Caller, Spark
from spark_core.state import AuditEntry, AuditLog
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = pytest.mark.anyio

#: What the operations below change.
shelf: dict[str, str] = {}

#: Who took something back.
takers: list[str] = []


class Book(BaseModel):
    id: str
    title: str


async def put(request: Book, change: Change) -> Book:
    """Put a book on the shelf."""
    before = {"title": shelf[request.id]} if request.id in shelf else None
    shelf[request.id] = request.title
    change.tell(f"book {request.id}", before=before, after={"title": request.title})
    if request.title == "heavy":
        raise Unavailable("the shelf broke")
    return request


async def undo_put(change: Change, caller: Caller) -> None:
    takers.append(caller.name)
    id = change.resource.removeprefix("book ")
    await asyncio.sleep(0)
    if change.after is None or shelf.get(id) != change.after["title"]:
        raise Conflict(f"{change.resource} has changed since")
    del shelf[id]
    if change.before is not None:
        shelf[id] = change.before["title"]


async def burn(request: Book, change: Change) -> Book:
    """Burn a book."""
    change.tell(f"book {request.id}", before={"title": request.title}, after=None)
    return request


async def look(request: Empty, change: Change) -> Book:
    """Look, and change nothing."""
    return Book(id="", title="")


async def count(request: Empty, change: Change) -> Book:
    """Count the books."""
    change.note("count_books:all", "job:count", {"books": 3})
    return Book(id="", title="")


OPERATIONS = (
    Operation("books.count", count, Effect.WRITE),
    Operation("books.put", put, Effect.WRITE, tool="put_book", undo=undo_put),
    Operation("books.burn", burn, Effect.WRITE),
    Operation("books.look", look, Effect.WRITE, undo=undo_put),
)


@pytest.fixture
async def spark(spark_open: SparkOpener) -> AsyncIterator[Spark]:
    shelf.clear()
    async with spark_open(plugin("books", spark_register_operations=lambda: OPERATIONS)) as spark:
        yield spark


async def newest(spark: Spark) -> AuditEntry:
    return (await (await spark.resolver.get(AuditLog)).entries())[0]


async def done(spark: Spark, operation: str, id: str, title: str = "any") -> int:
    """Do it, and return the id of its entry."""
    await spark.call(operation, {"id": id, "title": title}, caller="ada")
    return (await newest(spark)).id


async def undo(spark: Spark, id: int) -> Undone:
    undone = await spark.call("audit.undo", {"id": id}, caller="bob")
    assert isinstance(undone, Undone)
    return undone


async def test_an_entry_tells_what_was_and_what_is(spark: Spark) -> None:
    """Before and after, of what, and by which tool."""
    await done(spark, "books.put", "1", "first")
    await done(spark, "books.put", "1", "second")
    entry = await newest(spark)
    assert (entry.actor, entry.action, entry.resource) == ("ada", "books.put", "book 1")
    assert entry.detail == {
        "before": {"title": "first"},
        "after": {"title": "second"},
        "tool": "put_book",
    }


async def test_what_was_done_may_have_a_word_of_its_own(spark: Spark) -> None:
    """The audit has that instead of the operation's name, and it cannot be taken back."""
    await spark.call("books.count", caller="ada")
    entry = await newest(spark)
    assert (entry.actor, entry.action, entry.resource) == ("ada", "count_books:all", "job:count")
    assert (entry.detail, entry.outcome) == ({"books": 3}, "ok")
    with pytest.raises(Conflict, match="changed nothing"):
        await undo(spark, entry.id)


async def test_an_undo_restores_and_is_audited(spark: Spark) -> None:
    """What was before is there again, and the audit tells who took what back."""
    await done(spark, "books.put", "1", "first")
    id = await done(spark, "books.put", "1", "second")
    undone = await undo(spark, id)
    assert (shelf, undone.after) == ({"1": "first"}, {"title": "first"})
    assert takers[-1] == "bob"
    entry = await newest(spark)
    assert (entry.actor, entry.action, entry.resource) == ("bob", "audit.undo", "book 1")
    assert entry.detail == {
        "before": {"title": "second"},
        "after": {"title": "first"},
        "tool": "audit_undo",
        "undoes": id,
    }


async def test_what_is_undone_is_not_undone_again(spark: Spark) -> None:
    """Also when the same was done once more since, which the first undo knows nothing of."""
    id = await done(spark, "books.put", "1")
    await undo(spark, id)
    await done(spark, "books.put", "1")
    with pytest.raises(Conflict, match="undone before, by bob"):
        await undo(spark, id)
    assert shelf == {"1": "any"}


async def test_of_two_undos_at_once_one_is_refused(spark: Spark) -> None:
    """Neither sees the other's entry yet: then what is there now tells."""
    id = await done(spark, "books.put", "1")
    results = await asyncio.gather(undo(spark, id), undo(spark, id), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Undone"]


async def test_what_has_changed_since_is_a_conflict(spark: Spark) -> None:
    """Nothing is overwritten that the undo knows nothing of."""
    id = await done(spark, "books.put", "1", "first")
    await done(spark, "books.put", "1", "second")
    with pytest.raises(Conflict, match="changed since"):
        await undo(spark, id)
    assert shelf == {"1": "second"}


async def test_an_undo_that_failed_may_be_tried_again(spark: Spark) -> None:
    """Only one that went well has taken anything back."""
    id = await done(spark, "books.put", "1", "first")
    shelf["1"] = "other"
    with pytest.raises(Conflict):
        await undo(spark, id)
    shelf["1"] = "first"
    await undo(spark, id)
    assert shelf == {}


async def test_an_undo_is_not_undone(spark: Spark) -> None:
    """It says what to do instead."""
    await undo(spark, await done(spark, "books.put", "1"))
    with pytest.raises(Conflict, match="is an undo"):
        await undo(spark, (await newest(spark)).id)


async def test_what_failed_after_it_changed_something_can_be_undone(spark: Spark) -> None:
    """The entry tells of the change, and of the failure."""
    with pytest.raises(Unavailable):
        await done(spark, "books.put", "1", "heavy")
    entry = await newest(spark)
    assert entry.outcome == "unavailable"
    await undo(spark, entry.id)
    assert shelf == {}


async def test_the_id_of_a_start_will_do(spark: Spark) -> None:
    """Whoever knows only that gets what came of it."""
    id = await done(spark, "books.put", "1")
    assert (await undo(spark, id - 1)).id == id


@pytest.mark.parametrize(
    ("operation", "why"),
    [("books.look", "changed nothing"), ("books.burn", "cannot be undone")],
)
async def test_what_cannot_be_undone_says_so(spark: Spark, operation: str, why: str) -> None:
    request = {} if operation == "books.look" else {"id": "1", "title": "any"}
    await spark.call(operation, request)
    with pytest.raises(Conflict, match=why):
        await undo(spark, (await newest(spark)).id)


async def test_an_unknown_entry_is_not_found(spark: Spark) -> None:
    with pytest.raises(NotFound, match="no audit entry 999"):
        await undo(spark, 999)


# ---------------------------------------------------------------------------------------- tools


def test_what_reaches_beyond_our_own_data_is_no_tool() -> None:
    """No agent can be given a way to send anything outward, or to touch the cluster."""
    with pytest.raises(PluginError, match="beyond our own data"):
        Operation("books.look", look, Effect.OPERATE, tool=True)


@pytest.mark.parametrize("tool", ["a b", "a.b", "ü", "-"])
def test_a_tools_name_is_one_that_every_agent_takes(tool: str) -> None:
    with pytest.raises(PluginError, match="letters, digits and underscores"):
        Operation("books.look", look, Effect.READ, tool=tool)


def test_a_tool_is_called_as_it_says_or_as_its_operation() -> None:
    """Dots become underscores: not every agent takes them."""
    names = [
        Operation("books.look", look, Effect.READ, tool=tool).tool_name for tool in (True, "look")
    ]
    assert names == ["books_look", "look"]
