"""Models that are not served, and may be had: whoever offers that is asked when it is needed."""

from __future__ import annotations

from contextlib import suppress

from spark_core import Spark
from spark_core.errors import NotConfigured, NotFound, Unavailable
from spark_core.gateway.demand import OnDemand

__all__ = ["Demand"]


class Demand:
    """Asks for models on behalf of requests, if anything installed offers that."""

    def __init__(self, spark: Spark) -> None:
        self._spark = spark

    async def brings(self, model: str, wait_s: float) -> bool:
        """Wait for at most *wait_s* seconds until *model* is served; False if it cannot be had.

        :raises Busy: it is not to be waited for, or did not come in time.
        """
        on_demand = await self._find()
        if on_demand is None:
            return False
        try:
            await on_demand.wanted(model, wait_s=wait_s)
        except NotFound:
            return False
        return True

    async def _find(self) -> OnDemand | None:
        # Not before: what offers it may need the gateway itself. Where it cannot be opened, what
        # went wrong with the request is told, as it is where nothing offers it.
        resolver = self._spark.resolver
        if resolver.offers(OnDemand):
            with suppress(NotConfigured, Unavailable):
                return await resolver.get(OnDemand)
        return None
