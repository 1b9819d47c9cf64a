"""A program for the tests: ``spark`` with core, this host and one plugin about books.

Run as a script it is the command line; imported it offers its parts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import click
import spark_core_cli
from pydantic import BaseModel, Field, SecretStr
from spark_core_cli.installed import Installed
from spark_core_cli.main import make_command

from spark_core import Caller, Effect, Env, Operation, Progress, Section, SettingsSection, builtin
from spark_core import hookimpl as implement
from spark_core.errors import InvalidRequest, NotConfigured, NotFound, Problem, Unavailable
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import Source


class Kind(StrEnum):
    NOVEL = "novel"
    ESSAY = "essay"


class Weights(BaseModel):
    title: float = 1.0
    text: float = 1.0


class Search(BaseModel):
    query: str = Field(description="What to look for.")
    mode: Literal["hybrid", "dense"] = Field(default="hybrid", description="How to look.")
    limit: int = Field(default=10, ge=1, le=100)
    filter: dict[str, str | int | bool | list[str | int] | None] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    years: Annotated[list[int], Field(max_length=3)] | None = None
    weights: Weights | None = None
    exactly: bool = False
    cached: bool = True
    since: date | None = None
    any_of: str | int | None = None
    max_distance: float | None = Field(default=None, alias="maxDistance")


class Echo(BaseModel):
    given: dict[str, Any]


class Add(BaseModel):
    title: str
    kind: Kind
    year: int
    authors: list[str]
    signed: bool
    note: str | None = None


class Book(BaseModel):
    title: str
    year: int
    note: str | None = None


class Shelf(BaseModel):
    name: str
    tags: list[str]
    place: dict[str, Any]
    books: list[Book]


class Line(BaseModel):
    number: int
    text: str


class Fail(BaseModel):
    how: str


class Lines(BaseModel):
    lines: int = 3


class Done(BaseModel):
    done: bool = True


async def search(request: Search) -> Echo:
    """Find books.

    The whole text is searched.

    :raises NotFound: never.
    """
    return Echo(given=request.model_dump(mode="json", exclude_unset=True))


async def add(request: Add, caller: Caller) -> Echo:
    """Put a book on the shelf."""
    return Echo(given={**request.model_dump(mode="json"), "caller": caller.name})


async def show_shelf() -> Shelf:
    """Show the shelf."""
    books = [
        Book(title="A [bold]\x1b]0;title\x07 book\nin two lines", year=1901),
        Book(title="Long " * 60, year=1902, note="x"),
    ]
    return Shelf(name="first", tags=["a", "b"], place={"room": 3}, books=books)


async def copy_books(progress: Progress) -> Done:
    """Copy the books."""
    for done in range(1, 4):
        progress.update("copying", done=done, total=3, unit="books")
    return Done()


async def read_lines(request: Lines) -> AsyncIterator[Line]:
    """Read line by line."""
    for number in range(request.lines):
        yield Line(number=number, text="word")


async def wait() -> AsyncIterator[Line]:
    """Wait until it is cancelled."""
    try:
        yield Line(number=0, text="ready")
        await asyncio.Event().wait()
    finally:
        await asyncio.to_thread(Path("cancelled").touch)


async def wait_plainly(progress: Progress) -> Done:
    """Wait until it is cancelled, and give one result."""
    try:
        progress.update("waiting")
        click.echo("ready")
        await asyncio.Event().wait()
    finally:
        await asyncio.to_thread(Path("cancelled").touch)
    return Done()


async def chatter() -> Done:
    """Print, in every way there is."""
    print("said by python")  # noqa: T201
    os.write(1, b"said in C\n")
    await (await asyncio.create_subprocess_exec("echo", "said by a child")).wait()
    return Done()


async def chatter_on() -> AsyncIterator[Line]:
    """Print between events."""
    for number in range(2):
        await chatter()
        yield Line(number=number, text="event")


async def die() -> Done:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Done()


async def burn() -> Done:
    """Burn the shelf."""
    return Done()


async def titles() -> Shelf:
    """Name the books."""
    return Shelf(name="first", tags=[], place={}, books=[Book(title="One", year=1)])


ERRORS: dict[str, Exception] = {
    "missing": NotFound("there is no shelf 'b'; did you mean 'a'?", hint="list them first"),
    "down": Unavailable("http://127.0.0.1:1/v1 does not answer"),
    "unset": NotConfigured("there is no shelf yet", hint="set [plugins.library] shelf"),
    "invalid": InvalidRequest("how: not so", problems=[Problem("/how", "not so")]),
    "inside": InvalidRequest("no way", problems=[Problem("/other/0", "no way")]),
    "crash": ZeroDivisionError("one\ntwo"),
    "pipe": BrokenPipeError(32, "Broken pipe"),
    "group": ExceptionGroup("several", [NotFound("there is no book")]),
    "end": EOFError("too short"),
}


async def fail(request: Fail) -> Done:
    """Fail as asked."""
    raise ERRORS[request.how]


def render_titles(shelf: Shelf) -> str:
    return "\n".join(f"* {book.title}\x07" for book in shelf.books)


class LibrarySettings(Section):
    shelf: str = "oak"
    height: int = 5
    ratio: float = 0.5
    url: Annotated[str | None, Env("LIBRARY_URL")] = None
    token: SecretStr | None = None
    rooms: tuple[str, ...] = ("north", 'the "old" one')
    kinds: dict[str, dict[str, Any]] = Field(default_factory=dict)


OPERATIONS = (
    Operation("search", search, Effect.READ),
    Operation("shelf.add", add, Effect.WRITE),
    Operation("shelf.show", show_shelf, Effect.READ),
    Operation("shelf.titles", titles, Effect.READ, render=render_titles),
    Operation("shelf.copy_books", copy_books, Effect.READ),
    Operation("shelf.burn", burn, Effect.OPERATE),
    Operation("read", read_lines, Effect.READ),
    Operation("wait", wait, Effect.READ),
    Operation("wait_plainly", wait_plainly, Effect.READ),
    Operation("fail", fail, Effect.READ),
    Operation("die", die, Effect.WRITE),
    Operation("chatter", chatter, Effect.READ),
    Operation("chatter_on", chatter_on, Effect.READ),
)


def plugin(name: str, distribution: str | None = None, **offers: Iterable[Any]) -> Plugin:
    """A plugin that offers *offers*: ``operations=...``, ``commands=...`` and so on."""
    module = ModuleType(name)
    for kind, items in offers.items():
        setattr(module, f"spark_register_{kind}", implement(_offering(items)))
    return Plugin(name, distribution or f"dist-{name}", "1.0", module=module)


def _offering(items: Iterable[Any]) -> Any:
    def hook() -> Iterable[Any]:
        return items

    return hook


def library() -> Plugin:
    section = SettingsSection("plugins.library", LibrarySettings)
    return plugin("library", operations=OPERATIONS, settings=[section])


def installed(*plugins: Plugin, source: Source | None = None) -> Installed:
    """Core, this host and *plugins*, with settings from *source*."""
    core = Plugin("core", "spark-core", "0.1.0", module=builtin)
    host = Plugin("cli", "spark-core-cli", "0.1.0", module=spark_core_cli)
    source = source or Source(None, Path.cwd(), {}, {}, {})
    return Installed(Plugins([core, host, *plugins]), source)


if __name__ == "__main__":
    make_command(lambda config: installed(library())).main(sys.argv[1:], prog_name="spark")
    os.abort()  # main never returns
