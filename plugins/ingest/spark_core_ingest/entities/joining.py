"""Makes groups of the pairs that were weighed, component by component, in bounded memory."""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from . import model
from .clusters import REFUSED, Facts, cluster
from .profiles import Key
from .reasons import reasons
from .settling import Member

if TYPE_CHECKING:
    import duckdb

__all__ = ["changed_groups", "insert", "join", "pairs", "remember"]

#: Rows that are read or written in one go.
ROWS = 20_000

#: Two records and what a person decided of them.
Decision = tuple[Key, Key, str]


def join(connection: duckdb.DuckDBPyConnection, decisions: Iterable[Decision]) -> None:
    """Find out which records are one: the tables ``joined`` and ``barrier``."""
    run = connection.execute
    run("CREATE TABLE decision (a_kind TEXT, a_id TEXT, b_kind TEXT, b_id TEXT, verdict TEXT)")
    if rows := [[*one, *other, verdict] for one, other, verdict in decisions]:
        connection.executemany("INSERT INTO decision VALUES (?, ?, ?, ?, ?)", rows)
    run(_DECIDED)
    run(_LINK)
    run("CREATE TABLE joined (n BIGINT, c BIGINT)")
    run("CREATE TABLE barrier (l BIGINT, r BIGINT, why TEXT)")
    run("CREATE TABLE component (n BIGINT, c BIGINT)")
    insert(connection, "component", _components(connection))
    _insert_both(connection, _joined(connection))


_DECIDED = """
CREATE TABLE decided AS
SELECT least(a.n, b.n) AS l, greatest(a.n, b.n) AS r, verdict
  FROM decision
  JOIN record a ON a.kind = a_kind AND a.id = a_id
  JOIN record b ON b.kind = b_kind AND b.id = b_id
"""

_LINK = """
CREATE TABLE link AS
SELECT l, r, weight, false AS confirmed FROM scored WHERE doubt IS NULL
UNION ALL SELECT l, r, 0.0, true FROM decided WHERE verdict = 'confirm'
"""


def _components(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int]]:
    """Every linked record, with the first of those that links lead to."""
    (records,) = connection.execute("SELECT count(*) FROM record").fetchone() or (0,)
    first = array("q", range(records + 1))

    def find(n: int) -> int:
        while first[n] != n:
            first[n] = first[first[n]]
            n = first[n]
        return n

    linked = bytearray(records + 1)
    for left, right in _rows(connection, "SELECT l, r FROM link"):
        linked[left] = linked[right] = 1
        one, other = sorted((find(left), find(right)))
        first[other] = one
    return ((n, find(n)) for n in itertools.compress(range(records + 1), linked))


def _joined(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[tuple[list[tuple[int, int]], list[tuple[int, int, str]]]]:
    """Of each component its groups, by their first record, and what kept them apart."""
    refused = {tuple(pair) for pair in _rows(connection, _REFUSED)}
    links = itertools.groupby(_rows(connection, _LINKS), itemgetter(0))
    facts = itertools.groupby(_rows(connection, _FACTS), itemgetter(0))
    for (_, found), (_, said) in zip(links, facts, strict=True):
        known = {n: Facts(*rest) for _, n, *rest in said}
        pairs = [(confirmed, (left, right)) for _, left, right, confirmed in found]
        result = cluster(
            [pair for confirmed, pair in pairs if not confirmed],
            known,
            confirmed=[pair for confirmed, pair in pairs if confirmed],
            refused=refused,
        )
        rows = [(n, min(g)) for n, g in result.groups.items() if len(g) > 1]
        yield rows, [(*barrier.pair, barrier.why) for barrier in result.barriers]


_REFUSED = "SELECT l, r FROM decided WHERE verdict = 'refuse'"

_LINKS = """
SELECT c, l, r, confirmed FROM link JOIN component ON l = n
ORDER BY c, confirmed DESC, round(weight, 6) DESC, l, r
"""

_FACTS = """
SELECT c, n, given, family, births, ids FROM component JOIN record USING (n) ORDER BY c, n
"""


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of *query*, some at a time; others can be read meanwhile."""
    cursor = connection.cursor()
    try:
        cursor.execute(query)
        while rows := cursor.fetchmany(ROWS):
            yield from rows
    finally:
        cursor.close()


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Sequence[Any]]
) -> None:
    """Add *rows* to *table*, some at a time."""
    import pyarrow as pa

    names = [name for name, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]
    rows = iter(rows)
    while some := list(itertools.islice(rows, ROWS)):
        columns = [pa.array(column) for column in zip(*some, strict=True)]
        connection.register("rows", pa.Table.from_arrays(columns, names=names))
        connection.execute(f"INSERT INTO {table} SELECT * FROM rows")
        connection.unregister("rows")


def _insert_both(
    connection: duckdb.DuckDBPyConnection,
    found: Iterator[tuple[list[tuple[int, int]], list[tuple[int, int, str]]]],
) -> None:
    while some := list(itertools.islice(found, ROWS)):
        insert(connection, "joined", (row for rows, _ in some for row in rows))
        insert(connection, "barrier", (row for _, rows in some for row in rows))


def remember(connection: duckdb.DuckDBPyConnection) -> None:
    """Make room for what the state knows of records: the table ``known``."""
    connection.execute(
        "CREATE TABLE known (kind TEXT, id TEXT, entity TEXT, known_title TEXT, known_facts TEXT)"
    )


def changed_groups(connection: duckdb.DuckDBPyConnection) -> Iterator[list[Member]]:
    """The groups that the state does not know as they are; who is alone is one, too."""
    for _, group in itertools.groupby(_rows(connection, _GROUPS), itemgetter(0)):
        rows = list(group)
        members = [_member(*row[5:]) for row in rows]
        if not _is_known(rows, members):
            yield members


def _is_known(rows: Sequence[tuple[Any, ...]], members: Sequence[Member]) -> bool:
    _, entity, size, *_ = rows[0]
    if entity is None or size != len(rows):
        return False
    for (_, known, _, title, facts, *_), member in zip(rows, members, strict=True):
        stored = json.loads(facts) if facts else None
        wanted = member.facts if len(rows) > 1 else None
        if (known, title, stored) != (entity, member.title, wanted):
            return False
    return True


_GROUPS = """
SELECT coalesce(c, n) AS g, entity, size, known_title, known_facts,
       kind, id, title, given, family, births, ids
  FROM record LEFT JOIN joined USING (n) LEFT JOIN known USING (kind, id)
  LEFT JOIN (SELECT entity, count(*) AS size FROM known GROUP BY entity) USING (entity)
 ORDER BY g, n
"""


def _member(
    kind: str,
    id: str,
    title: str,
    given: str | None,
    family: str | None,
    births: list[str],
    ids: list[str],
) -> Member:
    facts = {"given": given, "family": family, "births": births, "ids": ids}
    return Member((kind, id), title, facts)


def pairs(connection: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    """The pairs that may be one, in the order of their keys, as the state keeps them."""
    doubts = {doubt.name: doubt.words for doubt in model.DOUBTS}
    doubts["score"] = "they do not agree in enough"
    width = len(_SAID)
    for row in _rows(connection, _PAIRS):
        weight, score, doubt, why, *rest = row
        codes = dict(zip(model.COMPARISONS, rest, strict=False))
        one, other = rest[len(codes) : len(codes) + width], rest[len(codes) + width :]
        left, right = dict(zip(_SAID, one, strict=True)), dict(zip(_SAID, other, strict=True))
        yield {
            "a_kind": left["kind"],
            "a_id": left["id"],
            "b_kind": right["kind"],
            "b_id": right["id"],
            "score": round(score, 6),
            "weight": round(weight, 6),
            "doubt": why or (doubts[doubt] if doubt else None),
            "reasons": reasons(codes, left, right),
        }


_FIELDS = ("emails", "phones", "births", "ids", "organizations", "postcodes", "houses")
_SAID = ("kind", "id", "given", "family", *_FIELDS)

_PAIRS = (
    "SELECT weight, score, doubt, why, "
    + ", ".join(f"gamma_{name}" for name in model.COMPARISONS)
    + "".join(f", {side}.{name}" for side in ("a", "b") for name in _SAID)
    + " FROM scored JOIN record a ON a.n = l JOIN record b ON b.n = r"
    # What people decided is kept apart, and can be taken back.
    f" LEFT JOIN (FROM barrier WHERE why <> '{REFUSED}') USING (l, r) ORDER BY l, r"
)
