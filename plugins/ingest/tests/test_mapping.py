"""Any schema is read by a mapping alone, and a mapping that does not fit says where."""

from __future__ import annotations

import math

import pytest
from spark_core_ingest.settings import IngestSettings
from spark_core_ingest.sqlite import SqliteSource, open_source

from spark_core.errors import NotConfigured, SourceError
from spark_core.testing.records import read

pytestmark = pytest.mark.anyio

PEOPLE = """
CREATE TABLE people (person_id INTEGER PRIMARY KEY, full_name TEXT, notes TEXT, city TEXT);
INSERT INTO people VALUES (1, 'Ada', 'likes engines', 'London'), (2, 'Grace', NULL, 'York');
"""


def kind(**more):
    return {"table": "t", "id": "id", "text": "text", **more}


async def test_table_id_and_text_are_enough(database):
    """Of a kind nothing else is required."""
    found = await database.run(PEOPLE).read(
        {"table": "people", "id": "person_id", "text": "full_name"}
    )
    assert [(record.id, record.text) for record in found] == [("1", "Ada"), ("2", "Grace")]
    assert [(record.title, dict(record.metadata)) for record in found] == [("", {})] * 2


async def test_text_is_joined_in_the_order_of_the_mapping(database):
    """Columns follow each other on lines of their own; empty ones leave no line."""
    mapping = {"table": "people", "id": "person_id", "text": ["notes", "full_name", "city"]}
    found = await database.run(PEOPLE).read(mapping)
    assert [record.text for record in found] == ["likes engines\nAda\nLondon", "Grace\nYork"]


@pytest.mark.parametrize(
    ("table", "id", "text"),
    [
        ("order", "group", "select"),
        ("my notes", "the id", "the text"),
        ('a"b', "x'y", 'z"'),
        ("Заметки", "идентификатор", "текст"),
        ("a;b", "--", "/* c"),
        ("1st", "2nd", "3.5"),
        ("t", "?1", ":name"),
        ("[t]", "`i`", "%s{x}"),
        ("sqlite", "rowid", "oid"),
    ],
)
async def test_odd_names_are_only_names(database, table, id, text):
    """Spaces, quotes, keywords and other scripts are read as any name."""

    def quoted(name):
        return '"' + name.replace('"', '""') + '"'

    database.run(f"CREATE TABLE {quoted(table)} ({quoted(id)}, {quoted(text)})")
    database.fill(f"INSERT INTO {quoted(table)} VALUES (?, ?)", [(1, "found")])
    (record,) = await database.read({"table": table, "id": id, "text": text})
    assert (record.id, record.text) == ("1", "found")


async def test_letter_case_is_as_in_sqlite(database):
    """ASCII letters match in either case, the name in results is the mapping's own."""
    database.run("CREATE TABLE T (ID, Text, City); INSERT INTO T VALUES (1, 'x', 'Brno')")
    (record,) = await database.read(kind(metadata=["CITY"]))
    assert dict(record.metadata) == {"CITY": "Brno"}


async def test_letters_beyond_ascii_keep_their_case(database):
    """For SQLite Ä and ä are two columns: the wrong one is refused, not read as a word."""
    database.run("CREATE TABLE t (id, text, Äther, äther); INSERT INTO t VALUES (1, 'x', 2, 3)")
    (record,) = await database.read(kind(metadata=["äther"]))
    assert dict(record.metadata) == {"äther": 3}
    database.run("ALTER TABLE t DROP COLUMN Äther")
    with pytest.raises(SourceError, match="no column 'Äther'; did you mean 'äther'"):
        await database.read(kind(metadata=["Äther"]))


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (id TEXT PRIMARY KEY, text) WITHOUT ROWID",
        "CREATE TABLE t (id, part, text, PRIMARY KEY (id, part))",
        "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, text)",
        "CREATE TABLE t (id REAL PRIMARY KEY, text)",
        "CREATE TABLE base (n, text); CREATE VIEW t AS SELECT n AS id, text FROM base",
        "CREATE TABLE t (id, text) STRICT".replace("id,", "id ANY,").replace("text)", "text TEXT)"),
        "CREATE VIRTUAL TABLE t USING fts5(id, text)",
    ],
)
async def test_every_kind_of_table_is_read(database, schema):
    """Tables without rowid, with keys of several columns, views, strict and virtual ones."""
    database.run(schema)
    table = "base (n, text)" if "VIEW" in schema else "t (id, text)"
    database.fill(f"INSERT INTO {table} VALUES (?, ?)", [(n, f"text {n}") for n in range(1, 24)])
    found = await database.read(kind(), batch=5)
    assert sorted(float(record.id) for record in found) == list(range(1, 24))


async def test_generated_and_hidden_columns_are_columns(database):
    """A column that SQLite computes can be mapped."""
    database.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, text AS (a || '!'),"
        "stored AS (upper(a)) STORED); INSERT INTO t (id, a) VALUES (1, 'hello')"
    )
    (record,) = await database.read(kind(metadata=["stored"]))
    assert (record.text, dict(record.metadata)) == ("hello!", {"stored": "HELLO"})


@pytest.mark.parametrize("batch", [1, 2, 3, 500])
@pytest.mark.parametrize("key", ["PRIMARY KEY", "", "PRIMARY KEY COLLATE NOCASE"])
async def test_ids_of_mixed_types_are_all_read_and_kept_apart(database, key, batch):
    """Equal as text is equal: the rows are told apart, and none is lost between batches."""
    ids = [-5, 1, "1", 1.5, b"1", b"a", "a", "b", "", 2**63 - 1, -(2**63), "31", "z\x00y", None]
    database.run(f"CREATE TABLE t (id {key}, text)")
    database.fill("INSERT INTO t VALUES (?, ?)", [(id, repr(id)) for id in ids])
    found = await database.read(kind(), batch)
    assert sorted(record.text for record in found) == sorted(map(repr, ids[:-1]))
    assert len({(record.id, record.occurrence) for record in found}) == len(ids) - 1
    assert [record.id for record in found].count("1") == 2
    assert [record.id for record in found].count("31") == 2  # the text, and the BLOB in hex


@pytest.mark.parametrize(
    ("type", "ids", "expected"),
    [
        ("INTEGER PRIMARY KEY", [-3, 0, 10, 9, 2**62], ["-3", "0", "9", "10", str(2**62)]),
        ("TEXT PRIMARY KEY", ["b", "a", "10", "9", "é"], ["10", "9", "a", "b", "é"]),
        ("BLOB PRIMARY KEY", [b"\xff\x00", b"\x01"], ["01", "ff00"]),
        ("REAL PRIMARY KEY", [2.5, -1, 1e300], ["-1.0", "2.5", "1.0e+300"]),
        ("TEXT PRIMARY KEY COLLATE NOCASE", ["b", "A", "c"], ["A", "b", "c"]),
    ],
)
async def test_keys_are_read_in_their_own_order(database, type, ids, expected):
    """Batches of one go through the key as SQLite orders it; every id is a text."""
    database.run(f"CREATE TABLE t (id {type}, text)")
    database.fill("INSERT INTO t VALUES (?, 'x')", [(id,) for id in ids])
    assert await database.ids(kind(), batch=1) == expected


@pytest.mark.parametrize("batch", [1, 2, 500])
async def test_keys_that_are_no_utf8_end(database, batch):
    """Such a key is read once: what comes back for it must not be mistaken for another."""
    database.run("CREATE TABLE t (id TEXT PRIMARY KEY, text)")
    ids = [b"a", b"a\xfe", b"a\xff", b"a\xff1", b"b"]
    database.fill("INSERT INTO t VALUES (CAST(? AS TEXT), 'x')", [(id,) for id in ids])
    assert await database.ids(kind(), batch) == ["a", "aþ", "aÿ", "aÿ1", "b"]


async def test_ids_that_differ_in_case_or_space_are_two(database):
    """A column that compares without case does not mix up the rows of two ids."""
    database.run("CREATE TABLE t (id TEXT COLLATE NOCASE, text)")
    ids = ["a", "A", "a", "A", " a", "a "]
    database.fill("INSERT INTO t VALUES (?, ?)", [(id, str(n)) for n, id in enumerate(ids)])
    found = await database.read(kind(), 1)
    keys = [(record.id, record.occurrence) for record in found]
    assert sorted(keys) == [(" a", 0), ("A", 0), ("A", 1), ("a", 0), ("a", 1), ("a ", 0)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT person_id AS id, full_name AS text FROM people",
        "select person_id AS id, full_name AS text FROM people;",
        "SELECT person_id AS id, full_name AS text FROM people ; -- all of them",
        "-- everybody\nSELECT person_id AS id, full_name AS text FROM people -- really",
        "/* everybody */ SELECT person_id AS id, full_name AS text FROM people /* so",
        "WITH p AS (SELECT * FROM people) SELECT person_id AS id, full_name AS text FROM p",
        "SELECT person_id AS id, full_name AS text, * FROM people ORDER BY city LIMIT 10",
        "SELECT 1 AS id, 'Ada' AS text UNION ALL VALUES (2, 'Grace')",
    ],
)
async def test_a_query_may_be_written_as_in_a_shell(database, query):
    """Comments, semicolons and common table expressions do not matter."""
    found = await database.run(PEOPLE).read({"query": query, "id": "id", "text": "text"}, batch=1)
    assert [(record.id, record.text) for record in found] == [("1", "Ada"), ("2", "Grace")]


async def test_a_join_that_repeats_ids_keeps_every_row(database):
    """The rows of one id are occurrences of one record."""
    database.run(PEOPLE).run(
        "CREATE TABLE calls (person_id, what);INSERT INTO calls VALUES (1, 'a'), (2, 'b'), (1, 'c')"
    )
    query = "SELECT people.person_id, what FROM people JOIN calls USING (person_id)"
    found = await database.read({"query": query, "id": "person_id", "text": "what"}, batch=1)
    assert [(r.id, r.occurrence, r.text) for r in found] in (
        [("1", 0, "a"), ("1", 1, "c"), ("2", 0, "b")],
        [("1", 0, "c"), ("1", 1, "a"), ("2", 0, "b")],
    )


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM people",
        "WITH p AS (SELECT 1) DELETE FROM people",
        "SELECT 1 AS id, 2 AS text; DELETE FROM people",
        "SELECT 1 AS id, 2 AS text) ; DELETE FROM people; --",
        "INSERT INTO people DEFAULT VALUES RETURNING person_id AS id, notes AS text",
        "PRAGMA journal_mode = DELETE",
        "ATTACH 'other.db' AS other",
        "VACUUM",
        "SELECT ? AS id, 2 AS text",
        "SELECT 1 AS id, 2 AS text FROM nowhere",
        "SELECT load_extension('x') AS id, 2 AS text",
        "-- nothing",
        "",
        "SELECT \0",
    ],
)
async def test_what_is_no_select_is_refused(database, fingerprint, query):
    """The error names the kind, and the database is as it was."""
    before = fingerprint(database.run(PEOPLE).path)
    with pytest.raises(SourceError, match=r"kind thing: its query|not authorized"):
        await database.read({"query": query, "id": "id", "text": "text"})
    assert fingerprint(database.path) == before


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"table": "peple"}, "kind thing: there is no table 'peple'; did you mean 'people'?"),
        ({"table": "zzz"}, "kind thing: there is no table 'zzz'"),
        (
            {"table": "people", "id": "persn_id"},
            "kind thing: table 'people' has no column 'persn_id'; did you mean 'person_id'?",
        ),
        (
            {"table": "people", "text": ["full_name", "note"]},
            "kind thing: table 'people' has no column 'note'; did you mean 'notes'?",
        ),
        ({"table": "people", "title": "Full name"}, "no column 'Full name'; did you mean 'full_n"),
        ({"table": "people", "metadata": "town"}, "table 'people' has no column 'town'"),
        (
            {"query": "SELECT person_id AS ident, full_name FROM people", "id": "idnt"},
            "kind thing: its query has no column 'idnt'; did you mean 'ident'?",
        ),
        (
            {"table": "people", "match": {"name": "ful_name"}},
            "table 'people' has no column 'ful_name'; did you mean 'full_name'?",
        ),
        (
            {"query": "SELECT person_id, notes FROM peple"},
            "kind thing: its query: there is no table 'peple'; did you mean 'people'?",
        ),
        (
            {"query": "SELECT person_id FROM main.peple"},
            "kind thing: its query: there is no table 'peple'; did you mean 'people'?",
        ),
        (
            {"query": "SELECT person_id, ful_name FROM People"},
            "kind thing: its query: there is no column 'ful_name'; did you mean 'full_name'?",
        ),
        (
            {"query": "SELECT p.persn_id FROM people AS p"},
            "kind thing: its query: there is no column 'p.persn_id'; did you mean 'person_id'?",
        ),
        (
            {"query": "SELECT frob(person_id) FROM people"},
            "kind thing: its query does not work: no such function: frob",
        ),
        ({"table": ""}, "there is no table ''"),
        ({"table": "people\0"}, "there is no table"),
    ],
)
async def test_a_wrong_name_is_told_with_the_nearest(database, mapping, message):
    """Counting and reading both say which table or column, of which kind."""
    source = database.run(PEOPLE).source(thing={"id": "person_id", "text": "full_name", **mapping})
    with pytest.raises(SourceError) as counting:
        await source.counts()
    with pytest.raises(SourceError) as reading:
        await read(source, "thing")
    assert message in str(counting.value)
    assert str(reading.value) == str(counting.value)


async def test_a_view_whose_table_is_gone_is_told(database):
    """SQLite's own message says what is missing."""
    database.run("CREATE TABLE a (id, text); CREATE VIEW t AS SELECT * FROM a; DROP TABLE a")
    with pytest.raises(SourceError, match=r"kind thing: table 't' does not work: no such table"):
        await database.read(kind())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"table": "t", "query": "SELECT 1", "id": "i", "text": "x"}, "either a table or a query"),
        ({"id": "i", "text": "x"}, "either a table or a query"),
        ({"table": "t", "id": "i", "text": []}, "at least 1 item"),
        ({"table": "t", "text": "x"}, "Field required"),
        ({"table": "t", "id": "i", "text": "x", "metadata": "a.b"}, "rename it in a query"),
        ({"table": "t", "id": "i", "text": "x", "txet": "y"}, "Extra inputs"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_a_settings_error(kind, message):
    """Before any database is opened."""
    with pytest.raises(ValueError, match=message):
        IngestSettings.model_validate({"kinds": {"thing": kind}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"collection": "x" * 101}, "at most 100"),
        ({"collection": "../x"}, "pattern"),
        ({"kinds": {"": {"table": "t", "id": "i", "text": "x"}}}, "at least 1 char"),
        ({"chunk_characters": 10}, "greater than or equal to 200"),
    ],
)
def test_settings_that_would_fail_later_fail_at_once(settings, message):
    """A collection's name leaves room for what a rebuild adds to it."""
    with pytest.raises(ValueError, match=message):
        IngestSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "which database"), ({"database": "crm.db"}, "what to read")],
)
async def test_what_is_not_set_is_told(settings, message):
    """Without a database or without kinds there is nothing to open."""
    with pytest.raises(NotConfigured, match=message) as caught:
        async with open_source(IngestSettings.model_validate(settings)):
            pass
    assert "[plugins.ingest" in (caught.value.hint or "")


async def test_values_of_every_type_become_metadata(database):
    """Null, integers, reals, text and bytes; what JSON cannot say is null."""
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text, value)")
    values = [None, 0, -(2**63), 2**63 - 1, 1.5, math.inf, -math.inf, "", " é ", b"caf\xc3\xa9"]
    database.fill("INSERT INTO t (text, value) VALUES ('x', ?)", [(value,) for value in values])
    found = [record.metadata["value"] for record in await database.read(kind(metadata="value"))]
    assert found == [None, 0, -(2**63), 2**63 - 1, 1.5, None, None, "", "é", "café"]


async def test_what_every_piece_carries_is_bounded(database):
    """A long text as title or metadata is cut, and whole in the text."""
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
    database.fill("INSERT INTO t (text) VALUES (?)", [("word " * 100_000,)])
    (record,) = await database.read(kind(title="text", metadata="text"))
    assert len(record.text) == 499_999
    assert len(record.title) == len(record.metadata["text"]) == 1000


async def test_text_is_read_as_well_as_it_can_be(database):
    """Bytes that are no UTF-8 are read as Latin-1; numbers and BLOBs are text too."""
    database.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text);"
        "INSERT INTO t (text) VALUES (CAST(X'4DFC6C6C6572' AS TEXT)), (X'4DC3BC6C'), (12.5),"
        "(NULL), (CAST(X'EDA080' AS TEXT)), ('a' || char(0) || 'b')"
    )
    found = [record.text for record in await database.read(kind())]
    assert found == ["Müller", "Mül", "12.5", "", "í\xa0\x80".strip(), "a\0b"]
    assert all(text.encode() or True for text in found)


async def test_utf16_databases_are_read(database):
    """The database's own encoding does not matter, nor for its keys."""
    database.run("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (id TEXT PRIMARY KEY, text)")
    database.fill("INSERT INTO t VALUES (?, ?)", [(id, id) for id in ("é", "漢", "🙂", "a")])
    assert sorted(await database.ids(kind(), batch=1)) == sorted(["é", "漢", "🙂", "a"])


async def test_a_table_of_very_many_columns_is_read(database):
    """As wide as SQLite allows."""
    names = [f"column_{n}" for n in range(1900)]
    database.run(f"CREATE TABLE t ({', '.join(names)})")
    database.fill(f"INSERT INTO t VALUES ({', '.join('?' * 1900)})", [list(range(1900))])
    (record,) = await database.read({"table": "t", "id": "column_0", "text": names})
    assert record.text.split("\n")[-1] == "1899"


async def test_columns_that_only_differ_in_use_are_read_once(database):
    """One column may be id, title, text and metadata at the same time."""
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text); INSERT INTO t VALUES (7, 'x')")
    mapping = {"table": "t", "id": "id", "text": ["id", "ID"], "title": "id", "metadata": ["id"]}
    (record,) = await database.read(mapping)
    assert (record.id, record.text, record.title, dict(record.metadata)) == (
        "7",
        "7\n7",
        "7",
        {"id": 7},
    )


async def test_batches_of_large_records_are_small(database, monkeypatch):
    """A batch ends when it has read enough characters, not only enough rows."""
    monkeypatch.setattr("spark_core_ingest.sqlite.BATCH_CHARACTERS", 1000)
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
    database.fill("INSERT INTO t (text) VALUES (?)", [("x" * 400,)] * 10)
    source: SqliteSource = database.source(thing=kind())
    assert [len(records) for records in await read(source, "thing")] == [3, 3, 3, 1]
