"""What the conformance suites have in common."""

from __future__ import annotations

import pytest

__all__ = ["AsyncSuite"]


class AsyncSuite:
    """Tests that are coroutines: they run on asyncio, as spark_core does."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        """The event loop, which a fixture of class scope may use too."""
        return "asyncio"
