"""The embedded engine: hybrid search at 50,000 points against what it is made of.

::

    python tests/benchmarks/engine.py [--quick]

The same points go into three places: our store, reached through its owner process; Qdrant Edge,
called in this process; qdrant-client's local mode. Each is asked the same hybrid queries with
the vector given (top 100 of each leg, reciprocal rank fusion, 10 hits with payload), turn by
turn, so that a noisy machine is noisy for all of them. CPU time is that of every process that
takes part. Two programs that share our store are compared with two threads that share Edge:
Edge holds the interpreter's lock and lets one process open a directory, so that is the other
way to have two of them. There the wall time of all queries counts: what one caller waits is
mostly the other's turn. ``--quick`` takes 5,000 points. Filling local mode takes a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import qdrant_edge as edge
from processes import cpu_seconds, home
from qdrant_client import QdrantClient, models
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.sparse import encode_document, encode_query
from spark_core_qdrant.store import QdrantStore
from tables import show

from spark_core.contracts.vectors import CollectionSpec, Point, Query

DIMENSION = 384
TERMS = 80  # in a text, on the average
VOCABULARY = 30_000
LIMIT = 10
PREFETCH = 100
RRF_K = 60
NAME = "points"


# ------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Data:
    """Clustered vectors of length 1 and texts of common and rare words, always the same."""

    points: list[Point]
    queries: list[Query]
    average_length: float = TERMS


def make_data(count: int, queries: int) -> Data:
    chance = np.random.default_rng(7)
    centres = chance.normal(size=(200, DIMENSION))
    near = centres[chance.integers(0, 200, count)]
    vectors = _unit(near + 0.6 * chance.normal(size=near.shape))
    words = chance.choice(VOCABULARY, size=(count, TERMS * 2), p=_word_chances())
    lengths = chance.integers(TERMS // 2, TERMS * 3 // 2, count)
    points = [
        Point(_id(n), vector.tolist(), _text(row[:length]), _payload(n))
        for n, (vector, row, length) in enumerate(zip(vectors, words, lengths, strict=True))
    ]
    asked = _unit(vectors[:queries] + 0.02 * chance.normal(size=(queries, DIMENSION)))
    return Data(
        points,
        [
            Query(vector=vector.tolist(), text=_text(row[:8]), limit=LIMIT)
            for vector, row in zip(asked, words, strict=False)
        ],
    )


def _word_chances() -> np.ndarray:
    """Zipf's law without its head, which are stop words: the commonest is in a third of texts."""
    chances: np.ndarray = 1 / (np.arange(VOCABULARY) + 30)
    return chances / chances.sum()


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype("float32")


def _text(row: np.ndarray) -> str:
    return " ".join(f"w{word}" for word in row)


def _id(n: int) -> str:
    return str(uuid.UUID(int=random.Random(n).getrandbits(128), version=4))


def _payload(n: int) -> dict[str, Any]:
    return {"kind": "note", "record_id": str(n), "year": 2000 + n % 25}


# ------------------------------------------------------------------------------- contenders


class InProcess:
    """Qdrant Edge, called as its documentation says; nothing of ours but the word weights."""

    def __init__(self, folder: Path, data: Data) -> None:
        self.shard = edge.EdgeShard.create(
            str(folder),
            edge.EdgeConfig(
                vectors={
                    "dense": edge.EdgeVectorParams(size=DIMENSION, distance=edge.Distance.Cosine)
                },
                sparse_vectors={"bm25": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
                optimizers=edge.EdgeOptimizersConfig(indexing_threshold=10_000_000),
            ),
        )
        for start in range(0, len(data.points), 128):
            points = [self._point(p, data) for p in data.points[start : start + 128]]
            self.shard.update(edge.UpdateOperation.upsert_points(points))

    def _point(self, point: Point, data: Data) -> edge.Point:
        words = edge.SparseVector(*encode_document(point.text, "english", data.average_length))
        vectors: Any = {"dense": list(point.vector), "bm25": words}
        return edge.Point(point.id, vectors, {**point.payload, "text": point.text})

    def search(self, query: Query) -> list[str]:
        words = edge.SparseVector(*encode_query(query.text or "", "english"))
        legs = (
            edge.Query.Nearest(query.vector, using="dense"),
            edge.Query.Nearest(words, using="bm25"),
        )
        request = edge.QueryRequest(
            limit=LIMIT,
            prefetches=[edge.Prefetch(limit=PREFETCH, query=leg) for leg in legs],
            query=edge.Fusion.Rrf(RRF_K),
            with_payload=True,
        )
        return [str(point.id) for point in self.shard.query(request) if point.payload]


class LocalMode:
    """qdrant-client's own embedded mode."""

    def __init__(self, folder: Path, data: Data) -> None:
        self.client = QdrantClient(path=str(folder))
        self.client.create_collection(
            NAME,
            vectors_config={
                "dense": models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
            },
            sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        for start in range(0, len(data.points), 1000):
            points = [self._point(p, data) for p in data.points[start : start + 1000]]
            self.client.upsert(NAME, points)

    def _point(self, point: Point, data: Data) -> models.PointStruct:
        words = _words(*encode_document(point.text, "english", data.average_length))
        vectors: Any = {"dense": list(point.vector), "bm25": words}
        payload = {**point.payload, "text": point.text}
        return models.PointStruct(id=point.id, vector=vectors, payload=payload)

    def search(self, query: Query) -> list[str]:
        words = _words(*encode_query(query.text or "", "english"))
        answer = self.client.query_points(
            NAME,
            prefetch=[
                models.Prefetch(query=query.vector, using="dense", limit=PREFETCH),
                models.Prefetch(query=words, using="bm25", limit=PREFETCH),
            ],
            query=models.RrfQuery(rrf=models.Rrf(k=RRF_K)),
            limit=LIMIT,
        )
        return [str(point.id) for point in answer.points]


def _words(indices: list[int], values: list[float]) -> models.SparseVector:
    return models.SparseVector(indices=indices, values=values)


async def fill_store(folder: Path, data: Data) -> None:
    """Our store: the points go through the owner process, as a backfill sends them."""
    async with open_embedded(folder, idle=60) as engine:
        store = QdrantStore(engine)
        spec = CollectionSpec(
            dimension=DIMENSION, embedder="synthetic", average_length=data.average_length
        )
        await store.create(NAME, spec)
        for start in range(0, len(data.points), 128):
            await store.collection(NAME).upsert(data.points[start : start + 128])


# ---------------------------------------------------------------------------------- workers


def work(folder: Path, pipe: Connection) -> None:
    """A program of its own that uses our store: answers lists of queries until told to end."""
    gc.disable()
    asyncio.run(_work(folder, pipe))


async def _work(folder: Path, pipe: Connection) -> None:
    async with open_embedded(folder, idle=60) as engine:
        collection = QdrantStore(engine).collection(NAME)
        while queries := pipe.recv():
            before, seconds, found = time.process_time(), [], []
            for query in queries:
                started = time.perf_counter()
                hits = await collection.search(query)
                seconds.append(time.perf_counter() - started)
                found.append([hit.id for hit in hits])
            pipe.send((seconds, time.process_time() - before, found))


@contextmanager
def workers(folder: Path, count: int) -> Iterator[list[Connection]]:
    """The ends of pipes to *count* programs that use our store."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=work, args=(folder, theirs)) for _, theirs in pipes]
    for process in processes:
        process.start()
    try:
        yield [ours for ours, _ in pipes]
    finally:
        for ours, _ in pipes:
            ours.send(None)
        for process in processes:
            process.join()


# -------------------------------------------------------------------------------- measuring


@dataclass
class Taken:
    """Seconds of each query as its caller saw them; wall and CPU seconds over all of them."""

    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def p50(self) -> float:
        return median(self.seconds) * 1000

    @property
    def wall_each(self) -> float:
        return self.wall / len(self.seconds) * 1000

    @property
    def cpu_each(self) -> float:
        return self.cpu / len(self.seconds) * 1000


class Ours:
    """Our store as other programs use it."""

    def __init__(self, folder: Path, pipes: list[Connection]) -> None:
        self._owner = json.loads((folder / "owner.json").read_text("utf-8"))["pid"]
        self._pipes = pipes

    def ask(self, taken: Taken, queries: list[Query], programs: int) -> list[list[str]]:
        """Let the first *programs* ask all *queries* at the same time."""
        before, started = cpu_seconds(self._owner), time.perf_counter()
        for pipe in self._pipes[:programs]:
            pipe.send(queries)
        found: list[list[str]] = []
        for pipe in self._pipes[:programs]:
            seconds, cpu, found = pipe.recv()
            taken.seconds += seconds
            taken.cpu += cpu
        taken.wall += time.perf_counter() - started
        taken.cpu += cpu_seconds(self._owner) - before
        return found


def ask(
    taken: Taken, queries: list[Query], search: Callable[[Query], list[str]]
) -> list[list[str]]:
    """Ask *queries* of something in this process."""
    before, found = time.process_time(), []
    for query in queries:
        started = time.perf_counter()
        found.append(search(query))
        taken.seconds.append(time.perf_counter() - started)
    taken.wall += sum(taken.seconds[-len(queries) :])
    taken.cpu += time.process_time() - before
    return found


def ask_from_two_threads(
    taken: Taken, queries: list[Query], search: Callable[[Query], list[str]]
) -> None:
    before, started, parts = time.process_time(), time.perf_counter(), (Taken(), Taken())
    threads = [threading.Thread(target=ask, args=(part, queries, search)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for part in parts:
        taken.seconds += part.seconds
    taken.wall += time.perf_counter() - started
    taken.cpu += time.process_time() - before


def measure(data: Data, folder: Path, rounds: int) -> tuple[dict[str, Taken], float]:
    """What each took, and the part of our hits that Edge found too."""
    for name in ("edge", "local", "ours"):
        (folder / name).mkdir()
    in_process = InProcess(folder / "edge", data)
    local = LocalMode(folder / "local", data)
    asyncio.run(fill_store(folder / "ours", data))
    gc.collect()
    gc.disable()
    names = ("Edge in process", "ours, 1 program", "Edge, 2 threads", "ours, 2 programs", "local")
    taken = {name: Taken() for name in names}
    alike: list[float] = []
    with workers(folder / "ours", 2) as pipes:
        ours = Ours(folder / "ours", pipes)
        ours.ask(Taken(), data.queries[:5], 2)
        ask(Taken(), data.queries[:5], in_process.search)
        ask(Taken(), data.queries[:1], local.search)
        size = len(data.queries) // rounds
        for start in range(0, size * rounds, size):
            queries = data.queries[start : start + size]
            theirs = ask(taken[names[0]], queries, in_process.search)
            found = ours.ask(taken[names[1]], queries, 1)
            ask_from_two_threads(taken[names[2]], queries, in_process.search)
            ours.ask(taken[names[3]], queries, 2)
            ask(taken[names[4]], queries[:1], local.search)
            alike += [len({*a} & {*b}) / LIMIT for a, b in zip(theirs, found, strict=True)]
    return taken, sum(alike) / len(alike)


def run(quick: bool = False) -> None:
    """Measure and print each contender's time and CPU, and the ratios that count."""
    count, rounds = (5_000, 4) if quick else (50_000, 12)
    data = make_data(count, rounds * 25)
    with home() as folder:
        taken, alike = measure(data, folder, rounds)
    edge_, one, threads, two, local = taken.values()
    rows = [
        (name, len(t.seconds), f"{t.p50:.2f}", f"{t.wall_each:.2f}", f"{t.cpu_each:.2f}")
        for name, t in taken.items()
    ]
    title = f"Hybrid query, {count:,} points x {DIMENSION}"
    show(title, ("", "queries", "p50 ms", "wall ms each", "CPU ms each"), rows)
    ratios = [
        ("p50, one program / Edge in process", f"{one.p50 / edge_.p50:.2f}"),
        ("wall, two programs / two threads", f"{two.wall_each / threads.wall_each:.2f}"),
        ("CPU, local mode / ours", f"{local.cpu_each / one.cpu_each:.0f}"),
        ("hits that Edge's own fusion has too", f"{alike:.3f}"),
    ]
    show("Ratios (targets at 50,000 points: 1.5, 1.5, 200)", ("", "measured"), ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="5,000 points")
    run(parser.parse_args().quick)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
