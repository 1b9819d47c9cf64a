"""What the tests of transcripts share."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """asyncio is what hosts run."""
    return "asyncio"
