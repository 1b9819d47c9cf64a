from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from spark_core_qdrant.store import QdrantStore

from .processes import fill, owners, stop, store_in
from .stand_in_server import StandIn, serve_stand_in


@pytest.fixture
def anyio_backend() -> str:
    """The event loop the tests run on."""
    return "asyncio"


@pytest.fixture(scope="module")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An embedded index for a module's tests, whose owner stays from one to the next."""
    directory = tmp_path_factory.mktemp("index")
    yield directory
    for pid in owners(directory):
        os.kill(pid, signal.SIGTERM)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in for a Qdrant server, running."""
    with serve_stand_in(StandIn()) as running:
        yield running


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Path]:
    """Where an embedded index lies; no owner outlives the test."""
    directory = tmp_path / "index"
    yield directory
    await stop(directory)


@pytest.fixture
async def store(directory: Path) -> AsyncIterator[QdrantStore]:
    """A store on the embedded engine in *directory*; no owner is started yet."""
    async with store_in(directory) as store:
        yield store


@pytest.fixture
async def filled(store: QdrantStore) -> QdrantStore:
    """The store with a collection "things" of ten points."""
    await fill(store)
    return store
