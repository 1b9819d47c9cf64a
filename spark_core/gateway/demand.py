"""Models on demand: what the gateway asks for where no backend serves a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = ["OnDemand"]


@runtime_checkable
class OnDemand(Protocol):
    """Who can have a model served that is not.

    A plugin offers it as a :class:`~spark_core.declarations.Resource`. It may need the gateway:
    the gateway asks for it only when a request wants a model that is not there.
    """

    async def wanted(self, model: str, *, wait_s: float) -> None:
        """Wait until *model* is served, for at most *wait_s* seconds.

        The wish is given up where this is cancelled, and the model not loaded for its sake if
        nobody else wants it. It returns at once where the model is served already.

        :raises NotFound: the model cannot be had, or not on demand.
        :raises Busy: it is not to be waited for, or did not come in time: with the position and
            the time to expect.
        """
        ...

    async def models(self) -> Sequence[str]:
        """The names of all models that can be had, whether they are served just now or not."""
        ...
