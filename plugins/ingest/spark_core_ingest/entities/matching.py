"""Compares records: Splink weighs pairs, DuckDB does the work, on disk where memory ends."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import model
from .profiles import Key, Profile
from .scratch import scratch
from .values import trigrams

if TYPE_CHECKING:
    import duckdb
    import pyarrow

__all__ = ["MEMORY", "Matching", "load", "open_matching"]

#: What more records than this share is no reason to compare each with each: work grows with this
#: number times that of records, not with the square of the latter.
SHARED_BY = 40

#: Instead each is compared with so many that come next by name.
NEIGHBOURS = 3

#: Up to so many records, each is compared with each.
FEW = 300

#: An address or a number that people with so many different initials have is nobody's own.
OWNERS = 4

#: So many pairs are weighed in one go.
PAIRS = 2_000_000

#: What DuckDB may use of main memory, in MB; beyond it works on disk.
MEMORY = 1000


async def load() -> None:
    """Import what compares: it takes seconds, and is no work for the event loop."""
    for name in ("duckdb", "pyarrow", "splink"):
        await asyncio.to_thread(importlib.import_module, name)


@contextmanager
def open_matching() -> Iterator[Matching]:
    """An empty database for one run, in a temporary folder of its own. Await :func:`load` first."""
    import duckdb

    with scratch() as folder:
        connection = duckdb.connect(f"{folder}/matching.duckdb")
        try:
            connection.execute(f"SET memory_limit = '{MEMORY}MB'")
            connection.execute("SET preserve_insertion_order = false")
            connection.execute(f"CREATE TABLE profile ({_COLUMNS})")
            yield Matching(connection)
        finally:
            connection.close()


_COLUMNS = (
    "kind VARCHAR, id VARCHAR, title VARCHAR, is_firm BOOLEAN, "
    "given VARCHAR, family VARCHAR, generation VARCHAR, initials VARCHAR, "
    "emails VARCHAR[], phones VARCHAR[], births VARCHAR[], ids VARCHAR[], "
    "organizations VARCHAR[], postcodes VARCHAR[], houses VARCHAR[], "
    "grams USMALLINT[], keys VARCHAR[]"
)


class Matching:
    """Profiles go in, scored pairs come out. Every method takes long: call it in a thread.

    What comes out depends on what went in alone, not on its order. Afterwards there are tables
    ``record``, numbered by ``n`` in the order of their keys, and ``scored``.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.records = 0

    def add(self, profiles: Sequence[Profile]) -> None:
        """Take in records, in any order."""
        if not profiles:
            return
        self.connection.register("batch", _table(profiles))
        self.connection.execute("INSERT INTO profile BY NAME SELECT * FROM batch")
        self.connection.unregister("batch")
        self.records += len(profiles)

    def match(self, told: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Weigh all pairs that may be one; *told* hears how many of how many are done."""
        self._number()
        run = self.connection.execute
        run(_KEYS if self.records > FEW else _ALL_KEYS)
        run(_PAIRS)
        self._weigh(told, model.SUGGESTED)

    def match_pair(self, one: Key, other: Key) -> None:
        """Weigh this one pair instead, though it may have nothing in common."""
        self._number()
        self.connection.execute(
            "CREATE TABLE blocked AS SELECT 0 AS place, least(a.n, b.n) AS l, "
            "greatest(a.n, b.n) AS r FROM record a, record b "
            "WHERE a.kind = ? AND a.id = ? AND b.kind = ? AND b.id = ?",
            [*one, *other],
        )
        self._weigh(lambda done, total: None, 0.0)

    def _number(self) -> None:
        """Put the records in order, without what belongs to nobody alone; count their names."""
        run = self.connection.execute
        (common,) = run(_COMMON, [OWNERS]).fetchone() or (None,)
        run("CREATE TABLE record AS " + _record(list(common or [])))
        run("DROP TABLE profile")
        run(_FREQUENCIES)
        run(_SCORED)

    def judge(self) -> None:
        """Say of every scored pair why it is not certain, in the column ``doubt``."""
        doubts = [doubt for doubt in model.DOUBTS if not self._is_mistyped(doubt.trust)]
        cases = " ".join(f"WHEN {doubt.condition} THEN '{doubt.name}'" for doubt in doubts)
        self.connection.execute(
            f"ALTER TABLE scored ADD COLUMN doubt VARCHAR; UPDATE scored SET doubt = "
            f"CASE {cases} WHEN score < {model.CERTAIN} THEN 'score' END"
        )

    def _is_mistyped(self, field: str | None) -> bool:
        """Whether *field* is wrong as often as people mistype, so that a difference says little."""
        if field is None:
            return False
        trust = model.TRUST[field]
        agree = f"{trust.agree} AND {trust.field}"
        query = (
            f"SELECT count(*) FILTER ({agree} >= 0), count(*) FILTER ({agree} = 0), "
            f"count(*) FILTER ({trust.apart}) FROM scored"
        )
        pairs, differ, apart = self.connection.execute(query).fetchone() or (0, 0, 0)
        least, most = (share * pairs for share in model.MISTYPED)
        return bool(pairs >= model.TOLD_BY and least <= differ <= most and apart < least)

    def _weigh(self, told: Callable[[int, int], None], least: float) -> None:
        (total,) = self.connection.execute("SELECT count(*) FROM blocked").fetchone() or (0,)
        for start in range(0, total, PAIRS):
            self._weigh_some(start, least)
            told(min(start + PAIRS, total), total)

    def _weigh_some(self, start: int, least: float) -> None:
        import splink

        run = self.connection.execute
        run(
            "CREATE OR REPLACE TABLE weighed AS SELECT '0' AS match_key, l AS join_key_l, "
            "r AS join_key_r FROM blocked WHERE place >= ? AND place < ?",
            [start, start + PAIRS],
        )
        api = splink.DuckDBAPI(self.connection)
        linker = self._linker(api)
        linker.table_management.register_blocked_pairs_for_predict(api.register("weighed"))
        found = linker.inference.predict(least, warning_mode="never").physical_name
        run(f"INSERT INTO scored BY NAME SELECT {_OUT} FROM {found}")
        linker.table_management.delete_tables_created_by_splink_from_db()

    def _linker(self, api: Any) -> Any:
        import splink

        linker = splink.Linker(
            api.register("record"),
            model.settings(self.records),
            log_level=None,  # progress tells what is done
            validate_settings=False,
        )
        for column in ("given", "family"):
            frequency = api.register(f"frequency_of_{column}")
            linker.table_management.register_term_frequency_lookup(frequency, column)
        return linker


def _table(profiles: Sequence[Profile]) -> pyarrow.Table:
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    types = [text, text, text, pa.bool_(), text, text, text, text, *[texts] * 7]
    types += [pa.list_(pa.uint16()), texts]
    names = [column.split()[0] for column in _COLUMNS.split(", ")]
    columns = zip(*map(_row, profiles), strict=True)
    arrays = [pa.array(column, type) for column, type in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(arrays, names=names)


def _row(profile: Profile) -> tuple[Any, ...]:
    return (
        *profile.key,
        profile.title,
        profile.is_firm,
        profile.given,
        profile.family,
        profile.generation,
        profile.initials,
        profile.emails,
        profile.phones,
        profile.births,
        profile.ids,
        profile.organizations,
        profile.postcodes,
        profile.houses,
        trigrams(profile.parts),
        list(profile.keys),
    )


#: Addresses and numbers of many people, whom their initials tell apart.
_COMMON = """
SELECT list(value) FROM (
    SELECT value FROM (SELECT unnest(list_concat(emails, phones)) AS value, initials FROM profile)
    WHERE initials <> '' GROUP BY value HAVING count(DISTINCT initials) >= ?
)
"""


def _record(common: Sequence[str]) -> str:
    """Records in the order of their keys, as :func:`.profiles.natural` has it."""
    texts = ", ".join("'" + value.replace("'", "''") + "'" for value in common)
    own = f"lambda v: NOT list_contains([{texts}], v)" if common else "lambda v: true"
    return f"""
    WITH own AS (
        SELECT * REPLACE (list_filter(emails, {own}) AS emails,
                          list_filter(phones, {own}) AS phones) FROM profile
    )
    SELECT row_number() OVER (
               ORDER BY kind, NOT regexp_full_match(id, '[0-9]+'),
                        CASE WHEN regexp_full_match(id, '[0-9]+') THEN length(id) END, id
           ) AS n, *,
           list_filter(list_transform(emails, lambda v: split_part(v, '@', 1)),
                       lambda v: length(v) >= 6) AS locals,
           list_transform(list_filter(phones, lambda v: starts_with(v, '+')),
                          lambda v: right(split_part(v, 'x', 1), 8)) AS tails,
           list_transform(list_filter(phones, lambda v: NOT starts_with(v, '+')),
                          lambda v: right(split_part(v, 'x', 1), 8)) AS bare,
           list_transform(ids, lambda v: split_part(v, '=', 1)) AS registers,
           list_filter(list_transform(ids, lambda v: split_part(v, '=', -1)),
                       lambda v: length(v) >= 5) AS numbers
      FROM own
    """


_NEXT = ", ".join(f"lead(n, {place}) OVER near" for place in range(1, NEIGHBOURS + 1))

_KEYS = f"""
CREATE TABLE key AS
SELECT DISTINCT n, hash(k) AS k FROM (SELECT n, unnest(keys) AS k FROM record);
CREATE TABLE often AS SELECT k, count(*) AS records FROM key GROUP BY k HAVING count(*) > 1;
CREATE TABLE shared AS
SELECT n, k FROM key SEMI JOIN (FROM often WHERE records <= {SHARED_BY}) USING (k)
"""

_ALL_KEYS = """
CREATE TABLE key (n BIGINT, k UBIGINT);
CREATE TABLE often (k UBIGINT, records BIGINT);
CREATE TABLE shared AS SELECT n, is_firm AS k FROM record
"""

_PAIRS = f"""
CREATE TABLE blocked AS
SELECT row_number() OVER () - 1 AS place, l, r FROM (
    SELECT l.n AS l, r.n AS r FROM shared l JOIN shared r ON l.k = r.k AND l.n < r.n
    UNION
    SELECT least(n, next), greatest(n, next) FROM (
        SELECT n, unnest([{_NEXT}]) AS next
          FROM key JOIN (FROM often WHERE records > {SHARED_BY}) USING (k)
          JOIN (SELECT n, family, given FROM record) USING (n)
        WINDOW near AS (PARTITION BY k ORDER BY family, given, n)
    ) WHERE next IS NOT NULL
);
DROP TABLE shared; DROP TABLE key; DROP TABLE often;
ALTER TABLE record DROP COLUMN keys
"""

#: How often each name occurs, as if there were a thousand more people with usual names.
_FREQUENCIES = """
CREATE TABLE frequency_of_given AS
SELECT given, (count(*) + 10.0) / (sum(count(*)) OVER () + 1000) AS tf_given
  FROM record WHERE given IS NOT NULL GROUP BY given;
CREATE TABLE frequency_of_family AS
SELECT family, (count(*) + 4.0) / (sum(count(*)) OVER () + 1000) AS tf_family
  FROM record WHERE family IS NOT NULL GROUP BY family
"""

_GAMMAS = [f"gamma_{name}" for name in model.COMPARISONS]

_OUT = ", ".join(
    ["n_l AS l", "n_r AS r", "match_weight AS weight", "match_probability AS score", *_GAMMAS]
)

_SCORED = (
    "CREATE TABLE scored (l BIGINT, r BIGINT, weight DOUBLE, score DOUBLE, "
    + ", ".join(f"{name} INTEGER" for name in _GAMMAS)
    + ")"
)
