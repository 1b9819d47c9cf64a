"""Whether a model fits, told from what the machines say of their memory and disks.

On unified memory the GPU's and the system's memory are one, and a model that does not fit
takes the machine down instead of failing. So nothing is loaded that is not known to fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..contracts.model_hosts import HostState
from .models import Failure

__all__ = ["GIB", "lacking", "no_room", "not_released"]

GIB: Final = 1024**3

#: Bytes of a disk that a container and its log need at least.
ROOM: Final = GIB


def lacking(
    state: HostState, need: int, freed: Mapping[str, int], margin: int, nodes: int
) -> Failure | None:
    """Why *need* bytes do not fit on the first *nodes* machines, once what is *freed* is back.

    *margin* is left alone in any case.
    """
    short: dict[str, Mapping[str, float]] = {}
    for name in [*state.nodes][:nodes]:
        comes_back = freed.get(name, 0)
        will_be = state.nodes[name].memory_available + comes_back
        if will_be < need + margin:
            short[name] = {
                "available_gib": _gib(state.nodes[name].memory_available),
                "comes_back_gib": _gib(comes_back),
                "needed_gib": _gib(need),
                "margin_gib": _gib(margin),
                "short_gib": _gib(need + margin - will_be),
            }
    if not short:
        return None
    where = "; ".join(
        f"{name}: {n['available_gib']} GiB available and {n['comes_back_gib']} come back, "
        f"{n['needed_gib']} needed and {n['margin_gib']} kept free"
        for name, n in short.items()
    )
    return Failure(code="not-enough-memory", message=where, evidence=short)


def no_room(state: HostState, nodes: int) -> Failure | None:
    """Why no container can begin on the first *nodes* machines: their disks are full."""
    full = {n: _gib(state.nodes[n].disk_free) for n in [*state.nodes][:nodes]}
    full = {name: free for name, free in full.items() if free < _gib(ROOM)}
    if not full:
        return None
    where = "; ".join(f"{name}: {free} GiB of its disk are free" for name, free in full.items())
    evidence = {name: {"free_gib": free} for name, free in full.items()}
    return Failure(code="disk-full", message=where, evidence=evidence)


def not_released(
    state: HostState, short: list[str], wanted: dict[str, int], seconds: float
) -> Failure:
    """What did not come back on the machines *short*, of what was *wanted* in bytes."""
    available = _shown(state)
    numbers = {
        n: {"available_gib": available[n], "wanted_gib": round(wanted.get(n, 0) / GIB, 1)}
        for n in short
    }
    where = "; ".join(
        f"{n}: {v['available_gib']} GiB of {v['wanted_gib']}" for n, v in numbers.items()
    )
    return Failure(
        code="memory-not-released",
        message=f"memory did not come back within {seconds:g} s ({where})",
        evidence=numbers,
    )


def _shown(state: HostState) -> dict[str, float | None]:
    """What is available on each machine, in GiB; None where it cannot be reached."""
    return {n: None if s.error else _gib(s.memory_available) for n, s in state.nodes.items()}


def _gib(size: int) -> float:
    return round(size / GIB, 1)
