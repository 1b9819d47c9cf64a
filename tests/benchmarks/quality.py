"""Retrieval quality: nDCG@10 of the three modes on judged collections.

::

    python tests/benchmarks/quality.py PATH/TO/collections [--quick]

Each folder in PATH that holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv`` (the BEIR
layout) is a collection. It goes the way of a user's own database: it is written as a SQLite
table, described by a mapping in ``spark.toml``, indexed by ``ingest.backfill`` and asked
through ``search``. No figure here is a time. ``--quick`` measures the smallest collection
alone. A collection of 3,000 abstracts takes two minutes of one core, nearly all in the model.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from processes import home
from tables import show

import spark_core

MODES = ("hybrid", "dense", "sparse")
DEPTH = 10

SETTINGS = """\
[plugins.ingest]
database = "collection.db"

[plugins.ingest.kinds.document]
table = "documents"
id = "document_id"
text = "body"
"""


@dataclass(frozen=True)
class JudgedCollection:
    """Documents and queries by id; of each query the ids of the relevant documents."""

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    relevant: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls, folder: Path) -> JudgedCollection:
        relevant: dict[str, set[str]] = defaultdict(set)
        with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if float(row["score"]) > 0:
                    relevant[row["query-id"]].add(row["corpus-id"])
        return cls(
            folder.name,
            {d["_id"]: _whole(d) for d in _lines(folder / "corpus.jsonl")},
            {q["_id"]: q["text"] for q in _lines(folder / "queries.jsonl")},
            {query: frozenset(documents) for query, documents in relevant.items()},
        )

    @property
    def missing(self) -> int:
        """Judgements of documents that the collection does not have: nobody can find them."""
        return sum(len(documents - self.documents.keys()) for documents in self.relevant.values())


def _lines(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _whole(document: Mapping[str, str]) -> str:
    return "\n".join(filter(None, (document.get("title"), document["text"])))


def ndcg(ranking: Sequence[str], relevant: frozenset[str]) -> float:
    """Normalised discounted cumulative gain at :data:`DEPTH`; a document is relevant or not."""
    gains = (1 / math.log2(rank + 1) for rank in range(1, DEPTH + 1))
    discounts = list(gains)
    ideal = sum(discounts[: len(relevant)])
    hits = zip(ranking, discounts, strict=False)
    return sum(gain for document, gain in hits if document in relevant) / ideal


def write_database(collection: JudgedCollection, folder: Path) -> Path:
    """The collection as somebody's database, with its mapping; returns the settings file."""
    with sqlite3.connect(folder / "collection.db") as connection:
        connection.execute("CREATE TABLE documents (document_id TEXT PRIMARY KEY, body TEXT)")
        rows = collection.documents.items()
        connection.executemany("INSERT INTO documents VALUES (?, ?)", rows)
    connection.close()
    config = folder / "spark.toml"
    config.write_text(SETTINGS, "utf-8")
    return config


async def measure(collection: JudgedCollection, folder: Path) -> dict[str, float]:
    """The mean nDCG of each mode over the queries that have relevant documents."""
    async with spark_core.open(write_database(collection, folder), environ={}) as spark:
        await spark.call("ingest.backfill")
        return {mode: await _mean_ndcg(spark, collection, mode) for mode in MODES}


async def _mean_ndcg(spark: spark_core.Spark, collection: JudgedCollection, mode: str) -> float:
    scores = []
    for query, relevant in collection.relevant.items():
        request = {"query": collection.queries[query], "mode": mode, "limit": DEPTH}
        answer: Any = await spark.call("search", request)
        scores.append(ndcg([hit.record_id for hit in answer.hits], relevant))
    return mean(scores)


def collections_in(folder: Path) -> list[JudgedCollection]:
    found = sorted(file.parent for file in folder.glob("*/qrels.tsv"))
    if not found:
        raise SystemExit(
            f"{folder} holds no collection: a folder with corpus.jsonl, queries.jsonl and qrels.tsv"
        )
    return sorted(map(JudgedCollection.read, found), key=lambda c: len(c.documents))


def run(folder: Path, quick: bool = False) -> None:
    """Measure every collection in *folder* and print a row for each."""
    rows = []
    for collection in collections_in(folder)[: 1 if quick else None]:
        with home() as folder:
            scores = asyncio.run(measure(collection, folder))
        size = (len(collection.documents), len(collection.relevant), collection.missing)
        rows.append((collection.name, *size, *(f"{scores[mode]:.4f}" for mode in MODES)))
    columns = ("collection", "documents", "queries", "judged but missing", *MODES)
    show(f"nDCG@{DEPTH}", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("collections", type=Path, help="a folder of collections")
    parser.add_argument("--quick", action="store_true", help="the smallest collection alone")
    arguments = parser.parse_args()
    run(arguments.collections, arguments.quick)


if __name__ == "__main__":
    main()
