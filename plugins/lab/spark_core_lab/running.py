"""Several stand-ins, run together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from .backend import Backend
from .bge_m3 import BgeM3
from .knobs import Knobs
from .kokoro import Kokoro
from .parakeet import Parakeet
from .server import StandIn, Together
from .vllm import Vllm

__all__ = ["BACKENDS", "HOST", "Lab", "run"]

#: Nobody else is to take them for the real ones.
HOST: Final = "127.0.0.1"

BACKENDS: Final[Mapping[str, type[Backend]]] = {
    backend.name: backend for backend in (Vllm, Parakeet, Kokoro, BgeM3)
}

#: Those that share a GPU.
SOUND: Final = ("parakeet", "kokoro")


@dataclass(frozen=True)
class Lab:
    """The stand-ins that run, by name and as attributes."""

    all: Mapping[str, StandIn]

    @property
    def vllm(self) -> StandIn:
        """The one for vLLM."""
        return self.all["vllm"]

    @property
    def parakeet(self) -> StandIn:
        """The one for the Parakeet-like server."""
        return self.all["parakeet"]

    @property
    def kokoro(self) -> StandIn:
        """The one for Kokoro."""
        return self.all["kokoro"]

    @property
    def bge_m3(self) -> StandIn:
        """The one for the embeddings server."""
        return self.all["bge_m3"]


@asynccontextmanager
async def run(
    names: Sequence[str], ports: Mapping[str, int], models: Sequence[str], knobs: Mapping[str, Any]
) -> AsyncIterator[Lab]:
    """See :func:`spark_core_lab.start`."""
    async with AsyncExitStack() as stack:
        running = {}
        sound = Together()
        for name in names or BACKENDS:
            backend = BACKENDS[name](Knobs(**knobs), models if name == "vllm" else ())
            together = sound if name in SOUND else None
            stand_in = StandIn(backend, HOST, ports.get(name, 0), together)
            running[name] = await stack.enter_async_context(stand_in.serving())
        yield Lab(running)
