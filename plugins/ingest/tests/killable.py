"""``spark`` over the ingest, the embedded engine and a fake embedder, which dies when told to.

``DIE="after upsert:3:9"`` sends itself signal 9 after the third upsert; the moments are those
of the methods below. ``MOMENTS=1`` tells each as it comes. The tests run this as a program.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import spark_core_ingest
import spark_core_qdrant
from spark_core_cli.installed import Installed
from spark_core_cli.main import make_command
from spark_core_ingest import alone, indexing
from spark_core_ingest.entities import registry, resolve
from spark_core_ingest.entities.registry import Entities
from spark_core_ingest.ledger import Ledger
from spark_core_qdrant.store import QdrantCollection, QdrantStore

from spark_core import Provider
from spark_core.contracts.embedding import Embedder
from spark_core.plugins import Plugin
from spark_core.settings import Source
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.plugins import installed, plugin

MOMENTS = {
    FakeEmbedder: ["embed"],
    QdrantCollection: ["upsert", "delete", "flush"],
    QdrantStore: ["create", "replace"],
    Ledger: ["put", "remove", "clear"],
    Entities: ["begin", "decisions", "forget", "settle", "put_links", "forget_links", "end"],
}

passed: Counter[str] = Counter()


async def pass_moment(moment: str) -> None:
    passed[moment] += 1
    if os.environ.get("MOMENTS"):
        sys.stderr.write(f"{moment}:{passed[moment]}\n")
    where, _, number = os.environ.get("DIE", "").rpartition(":")
    if f"{moment}:{passed[moment]}" == where:
        os.kill(os.getpid(), int(number))
        await asyncio.sleep(0)  # Ctrl-C is heard of here


def watch(owner: type, name: str) -> None:
    method = getattr(owner, name)

    @wraps(method)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        await pass_moment(f"before {name}")
        result = await method(*args, **kwargs)
        await pass_moment(f"after {name}")
        return result

    setattr(owner, name, watched)


@asynccontextmanager
async def open_embedder() -> AsyncIterator[Embedder]:
    embedder = FakeEmbedder(8)
    try:
        yield embedder
    finally:
        sys.stderr.write(f"embedded {embedder.texts_embedded}\n")


def everything() -> Any:
    fake = Provider("fake", open_embedder, embedded=True)
    return installed(
        Plugin("ingest", "spark-core-ingest", "0", module=spark_core_ingest),
        Plugin("qdrant", "spark-core-qdrant", "0", module=spark_core_qdrant),
        plugin("fake", spark_register_embedders=lambda: [fake]),
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run unseen
    for owner, names in MOMENTS.items():
        for name in names:
            watch(owner, name)
    indexing.CHECKPOINT = 200
    resolve.RECORDS = registry.RECORDS = 40
    if lease := os.environ.get("LEASE"):
        alone.LEASE = float(lease)
    make_command(lambda config: Installed(everything(), Source.read(config))).main(
        sys.argv[1:], prog_name="spark"
    )
