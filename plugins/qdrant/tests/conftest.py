from __future__ import annotations

from collections.abc import Iterator

import pytest

from .stand_in_server import StandIn, serve_stand_in


@pytest.fixture
def anyio_backend() -> str:
    """The event loop the tests run on."""
    return "asyncio"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in for a Qdrant server, running."""
    with serve_stand_in(StandIn()) as running:
        yield running
