"""Tables and columns may be named as SQLite or SQL names them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_ingest.names import quoted, unquoted, without_schema
from spark_core_ingest.settings import IngestSettings

from spark_core.errors import SourceError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("id", ["rowid", "ROWID", "oid", "_rowid_", '"rowid"', "[oid]"])
async def test_sqlites_own_row_number_is_an_id(database, id):
    """It is an integer key, and read batch by batch in its order."""
    database.run("CREATE TABLE t (text)")
    database.fill("INSERT INTO t VALUES (?)", [(f"text {n}",) for n in range(12)])
    database.run("DELETE FROM t WHERE rowid = 3")
    mapping = {"table": "t", "id": id, "text": "text"}
    assert await database.ids(mapping, 5) == [str(n) for n in range(1, 13) if n != 3]


async def test_a_row_number_is_what_the_primary_key_is(database):
    """And may be shown like any column."""
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text); INSERT INTO t VALUES (7, 'x')")
    (record,) = await database.read(
        {"table": "t", "id": "id", "text": ["text", "oid"], "metadata": "rowid"}
    )
    assert (record.text, dict(record.metadata)) == ("x\n7", {"rowid": 7})


async def test_a_column_of_that_name_comes_first(database):
    """As in SQLite."""
    database.run("CREATE TABLE t (RowId, text); INSERT INTO t VALUES ('mine', 'x')")
    assert await database.ids({"table": "t", "id": "rowid", "text": "text"}) == ["mine"]
    (record,) = await database.read({"table": "t", "id": "oid", "text": "text"})
    assert record.id == "1"


@pytest.mark.parametrize(
    "source",
    [
        {"table": "without_rowid"},
        {"table": "a_view"},
        {"query": "SELECT * FROM t"},
    ],
    ids=str,
)
async def test_where_there_is_no_row_number_it_is_no_column(database, source):
    """Not the word "rowid" either, which SQLite would read."""
    database.run(
        "CREATE TABLE without_rowid (n PRIMARY KEY, text) WITHOUT ROWID;"
        "CREATE TABLE t (text); CREATE VIEW a_view AS SELECT text FROM t;"
        "INSERT INTO t VALUES ('x'); INSERT INTO without_rowid VALUES (1, 'x')"
    )
    with pytest.raises(SourceError, match="has no column 'rowid'"):
        await database.read({**source, "id": "rowid", "text": "text"})


@pytest.mark.parametrize(
    "table",
    [
        "main.people",
        "MAIN.People",
        '"people"',
        "[people]",
        "`people`",
        'main."people"',
        '"main".[people]',
    ],
)
async def test_a_table_may_be_written_as_in_sql(database, table):
    """With its schema, and in quotes; its key is used all the same."""
    database.run("CREATE TABLE people (id INTEGER PRIMARY KEY, text)")
    database.fill("INSERT INTO people VALUES (?, 'x')", [(n,) for n in (2, 10, 9)])
    mapping = {"table": table, "id": '"id"', "text": ["[text]"], "metadata": '"text"'}
    found = await database.read(mapping, batch=1)
    assert [record.id for record in found] == ["2", "9", "10"]
    assert {tuple(record.metadata.items()) for record in found} == {(("text", "x"),)}


@pytest.mark.parametrize("table", ["main.people", '"people"', "[people]"])
async def test_a_table_that_is_called_so_comes_first(database, table):
    """What looks like SQL may be a name."""
    database.run(f"CREATE TABLE people (id, text); CREATE TABLE {quoted(table)} (id, text)")
    database.run(f"INSERT INTO {quoted(table)} VALUES ('this one', 'x')")
    assert await database.ids({"table": table, "id": "id", "text": "text"}) == ["this one"]


@pytest.mark.parametrize("table", ["temp.people", "other.people", "main.", "main.poeple"])
async def test_a_table_elsewhere_is_told(database, table):
    """There is one database."""
    database.run("CREATE TABLE people (id, text)")
    with pytest.raises(SourceError, match="there is no table"):
        await database.ids({"table": table, "id": "id", "text": "text"})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_quotes_are_taken_off_as_they_are_put_on(name):
    """Whatever is between them."""
    assert unquoted(quoted(name)) == name
    assert without_schema(f"main.{quoted(name)}") == name


@pytest.mark.parametrize("name", ["a\\b", 'a"b', "a.b", "a\0b", "a\nb", "", "\u202e"])
def test_metadata_that_no_filter_can_name_is_refused(name):
    """When settings are read, with what to do, and not at the first search."""
    kind = {"table": "t", "id": "id", "text": "text", "metadata": name}
    with pytest.raises(ValueError, match="rename it in a query"):
        IngestSettings.model_validate({"kinds": {"thing": kind}})


@pytest.mark.parametrize("name", ["a'b", "a b", "[x", "%s{}", "ß/漢?", "a:b;--", "*", "-"])
async def test_odd_metadata_is_returned_and_filtered_by(desk, database, embedded_store, name):
    """In the real engine."""
    column = quoted(name)
    database.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY, text, {column})")
    database.fill("INSERT INTO t VALUES (?, 'needle', ?)", [(1, "yes"), (2, "no")])
    kind = {"table": "t", "id": "id", "text": "text", "metadata": name}
    desk.source, desk.store = database.source(note=kind), embedded_store
    desk.set(kinds={"note": kind})
    await desk.backfill()
    (hit,) = (await desk.search("needle", mode="sparse", filter={name: "yes"})).hits
    assert (hit.record_id, hit.metadata) == ("1", {name: "yes"})
