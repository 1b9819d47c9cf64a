"""What is printed: for programs with --json, for people without."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel, RootModel
from spark_core_cli.progress import INTERVAL, ProgressLines

from spark_core import Effect, Operation


def test_json_is_one_document_and_nothing_else(spark):
    result = spark("shelf", "show", "--json")
    assert json.loads(result.stdout)["books"][0]["year"] == 1901
    assert not result.stderr


def test_json_of_a_stream_is_one_line_per_event(spark):
    lines = spark("read", "--lines", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1]


def test_a_stream_is_one_line_per_event_for_people_too(spark):
    assert spark("read", "--lines", "1").stdout == "number: 0  text: word\n"


def test_an_operation_can_render_itself(spark):
    assert spark("shelf", "titles").stdout == "* One\n"


def test_a_pipe_gets_plain_fields_and_tabs_with_nothing_cut(spark):
    lines = spark("shelf", "show").stdout.splitlines()
    assert lines[:6] == ["name: first", "tags: a, b", "place:", "  room: 3", "", "books:"]
    assert lines[6] == "title\tyear\tnote"
    assert lines[7] == "A [bold]]0;title book in two lines\t1901\t-"
    assert lines[8] == f"{('Long ' * 60).strip()}\t1902\tx"


class Book(BaseModel):
    title: str
    year: int = 1


class Shelves(BaseModel):
    shelves: dict[str, list[Book]]


class House(BaseModel):
    name: str
    rooms: dict[str, dict[str, list[Book] | int]]


@pytest.fixture
def shown(spark, library):
    """What is printed of a result."""

    def run(result, kind=None, *words):
        async def give():
            return result

        async def stream():
            yield result

        kind = kind or type(result)
        give.__annotations__ = {"return": kind}
        stream.__annotations__ = {"return": AsyncIterator[kind]}
        operations = [
            Operation("give", give, Effect.READ),
            Operation("stream", stream, Effect.READ),
        ]
        offered = library.plugin("results", operations=operations)
        answer = spark(*(words or ("give",)), plugins=[offered])
        assert answer.exit_code == 0, answer.stderr
        return answer.stdout

    return run


@pytest.mark.parametrize(
    ("kind", "value", "text", "line"),
    [
        (
            list[Book],
            [Book(title="One")],
            "title\tyear\nOne\t1\n",
            '[{"title": "One", "year": 1}]\n',
        ),
        (list[str], ["a\x07", "b"], "a\nb\n", "a, b\n"),
        (list[Book], [], "none\n", "none\n"),
        (dict[str, int], {"a": 1, "b": 2}, "a: 1\nb: 2\n", "a: 1  b: 2\n"),
        (int, 3, "3\n", "3\n"),
    ],
)
def test_a_result_need_not_have_fields(shown, kind, value, text, line):
    result = RootModel[kind](value)
    assert shown(result) == text
    assert shown(result, None, "stream") == line
    assert json.loads(shown(result, None, "give", "--json")) == result.model_dump(mode="json")


def test_lists_of_models_are_tables_however_deep_they_lie(shown):
    shelves = {"a\x1b]0;b": [Book(title="One")], "c": [Book(title="Two"), Book(title="Three")]}
    assert shown(Shelves(shelves=shelves)) == (
        "\nshelves.a]0;b:\ntitle\tyear\nOne\t1\n\nshelves.c:\ntitle\tyear\nTwo\t1\nThree\t1\n"
    )
    house = House(name="h", rooms={"n": {"floor": 2, "books": [Book(title="One")]}, "e": {}})
    assert shown(house) == (
        "name: h\nrooms:\n  n:\n    floor: 2\n  e: {}\n\nrooms.n.books:\ntitle\tyear\nOne\t1\n"
    )


def test_progress_is_not_shown_for_short_work_in_a_pipe(spark):
    result = spark("shelf", "copy-books")
    assert result.stdout == "done: true\n"
    assert not result.stderr


def test_progress_in_a_pipe_is_a_line_now_and_then(capsys):
    now = 0.0
    lines = ProgressLines(lambda: now)
    for done in range(100):
        now += INTERVAL / 4
        lines.update("reading", done=done, total=100 if done > 50 else None, unit="rows")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 25
    assert told[0] == "reading: 3 rows, 0.4/s"
    assert told[-1] == "reading: 99 of 100 rows, 0.4/s, 0:00:02 left"
