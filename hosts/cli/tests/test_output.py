"""What is printed: for programs with --json, for people without."""

from __future__ import annotations

import json

from spark_core_cli.progress import INTERVAL, ProgressLines


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
    assert told[0] == "reading: 3 rows"
    assert told[-1] == "reading: 99 of 100 rows"
