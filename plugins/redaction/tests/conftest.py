"""The vault in a state that tests can look into."""

from __future__ import annotations

import pytest

from spark_core.testing.databases import postgresql_server, postgresql_url, state_url

__all__ = ["postgresql_server", "postgresql_url", "state_url"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
