"""A world for each test, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spark_core.state import State

from .swap_world import SCHEMA, World


@pytest.fixture
async def state(state_url: str) -> AsyncIterator[State]:
    async with State.open(state_url, [SCHEMA]) as state:
        yield state


@pytest.fixture
def world(state: State, tmp_path: Path) -> World:
    return World(state, tmp_path)
