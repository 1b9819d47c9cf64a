"""The model host keeps the contract, with either launcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from spark_core.errors import InvalidRequest
from spark_core.testing.model_hosts import (
    ModelHostConformance,
    Rig,
    a_launch,
    has_container,
    has_ended,
    until,
)

from .conftest import TEMPLATE, open_rig


class TestLaunchCluster(ModelHostConformance):
    """launch-cluster.sh, as it quotes its words."""

    @pytest.fixture
    async def rig(self, pair: Any) -> AsyncIterator[Rig]:
        async with open_rig(pair) as rig:
            yield rig


class TestCommand(ModelHostConformance):
    """A plain docker run, on one machine."""

    @pytest.fixture
    async def rig(self, pair: Any) -> AsyncIterator[Rig]:
        async with open_rig(pair, command=TEMPLATE) as rig:
            yield rig

    async def test_a_launch_on_two_nodes_is_seen_on_both(self, rig: Rig) -> None:
        """It has no way to start the second rank, and says so before anything is done."""
        with pytest.raises(InvalidRequest):
            await rig.host.launch(a_launch(nodes=2), 1)
        assert (await rig.host.observe()).is_empty

    async def test_stopping_leaves_nothing(self, rig: Rig) -> None:
        """Of a model on one machine."""
        await rig.host.launch(a_launch(), 1)
        await until(rig, has_container)
        await rig.host.stop(1)
        await until(rig, lambda state: state.is_empty and has_ended(state))


class TestEarlyLaunchCluster(ModelHostConformance):
    """launch-cluster.sh of those versions that join words with spaces."""

    @pytest.fixture
    async def rig(self, pair: Any) -> AsyncIterator[Rig]:
        for spark in pair:
            spark.inject("flattens")
        async with open_rig(pair, cluster="~/launch-cluster.sh", flattens=True) as rig:
            yield rig
