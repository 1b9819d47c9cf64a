"""A lab: stand-ins for the model servers, for tests and for people without a cluster.

In a test::

    async with spark_core_lab.start("vllm", tokens=64) as lab:
        lab.vllm.faults.set("cut_mid_stream", times=1)
        ...  # point what is tested at lab.vllm.url
        assert lab.vllm.requests == 1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from spark_core import Command, hookimpl

if TYPE_CHECKING:
    from .running import Lab

__all__ = ["spark_register_commands", "start"]


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """``spark lab``."""
    summary = "Run stand-ins for the model servers, with faults on demand"
    return (Command("lab", summary, "spark_core_lab.command:command"),)


def start(
    *names: str, ports: Mapping[str, int] | None = None, models: Sequence[str] = (), **knobs: Any
) -> AbstractAsyncContextManager[Lab]:
    """Run the stand-ins *names* (default: all) on loopback until the block is left.

    Each gets a free port where *ports* names none. *models* are what vLLM serves; *knobs* are
    fields of :class:`~spark_core_lab.knobs.Knobs`, the same for all.

    :raises KeyError: there is no stand-in of that name.
    :raises ValidationError: there is no such knob, or it cannot be turned so far.
    :raises OSError: a port is taken.
    """
    from .running import run

    return run(names, ports or {}, models, knobs)
