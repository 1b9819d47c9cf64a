"""What is done on the machines; ``node.sh`` decides there what must hold whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

from spark_core.contracts.machines import Completed
from spark_core.errors import LeaseLost, Unavailable

from .models import Broken
from .places import Places
from .settings import PromotionSettings
from .telling import told

__all__ = ["NodeState", "Nodes", "patiently"]

T = TypeVar("T")

#: What ``node.sh`` exits with; it says why on standard error.
LEASE_LOST, CHANGED, CANNOT = 81, 82, 85
CODES: Final = {CHANGED: "changed_by_others", CANNOT: "node_failed"}

#: Bytes that are sent at once, and seconds for each command: a disk may be slow.
PIECE: Final = 2**23
COMMAND_S: Final = 300.0

#: Seconds between two tries to reach a machine.
AGAIN: Final = 0.5


@dataclass(frozen=True)
class NodeState:
    """The destination on a node, and the node: ``id`` is the swarm's name of it."""

    digest: str
    size: int
    machine: str
    free: int
    id: str


class Nodes:
    """Runs ``node.sh``."""

    def __init__(self, places: Places, settings: PromotionSettings) -> None:
        self.places = places
        self._settings = settings
        self._script = files(__package__).joinpath("node.sh").read_text("utf-8")

    @property
    def reach_s(self) -> float:
        """How long what does not answer is tried again."""
        return self._settings.reach_s

    async def look(self, node: str, destination: str) -> NodeState:
        """How *destination* is on *node*.

        :raises Broken: nothing can be replaced there.
        """
        lines = (await self.do(node, "look", destination)).stdout.split("\n")
        digest, size, machine, free, id, *_ = lines
        return NodeState(digest, int(size), machine, int(free) * 1024, id)

    async def send(self, node: str, fence: int, file: Path, temp: str) -> None:
        """Copy *file* to *temp* on *node*, piece by piece."""
        offset = 0
        with await asyncio.to_thread(file.open, "rb") as opened:
            while piece := await asyncio.to_thread(opened.read, PIECE):
                where = (str(fence), temp, str(offset), str(len(piece)))
                await self.do(node, "append", *where, stdin=piece)
                offset += len(piece)

    async def do(self, node: str, verb: str, *arguments: str, stdin: bytes = b"") -> Completed:
        """Let *node* do *verb*; it is tried again while the node cannot be reached.

        :raises Broken: it could not be done.
        :raises LeaseLost: somebody else works there now.
        :raises Unavailable: the node is away for too long.
        """
        words = ("sh", "-c", self._script, "spark-core", self._settings.folder, verb, *arguments)

        async def once() -> Completed:
            return await self.places.run(node, words, stdin=stdin, timeout_s=COMMAND_S)

        done = await patiently(once, self._settings.reach_s)
        if done.exit_code == 0:
            return done
        said = told((done.stderr.strip().splitlines() or ["no reason was told"])[-1])[:500]
        if done.exit_code == LEASE_LOST:
            raise LeaseLost(f"{node}: a newer promotion works there (fence {said})")
        raise Broken(CODES.get(done.exit_code, "command_failed"), f"{node}: {verb}: {said}")


async def patiently(once: Callable[[], Awaitable[T]], seconds: float) -> T:
    """What *once* gives; where a machine cannot be reached it is tried again for *seconds*.

    :raises Unavailable: it could not be reached.
    """
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await once()
        except Unavailable:
            if asyncio.get_running_loop().time() >= end:
                raise
            await asyncio.sleep(min(AGAIN, seconds))
