"""Machines that are like DGX Sparks, for tests: OpenSSH's own ``sshd``, each with its own home.

::

    with spark_core_lab.sparks.start(2) as (head, other):
        head.inject("crash", {"after": 0.2, "exit": 1, "lines": ["CUDA out of memory"]})
        ...  # connect to head.host and head.port with head.key and head.known_hosts

On each there are a ``docker`` whose containers are processes, a ``vllm`` that is the lab's, and a
``launch-cluster.sh``, all stand-ins. Nothing of them is left when the block ends.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .machine import Spark

__all__ = ["SSHD", "start"]

#: The server that is run: Debian's package openssh-server has it.
SSHD = "/usr/sbin/sshd"


def start(count: int = 1) -> AbstractContextManager[tuple[Spark, ...]]:
    """Run *count* machines on loopback until the block is left; the first launches clusters.

    :raises FileNotFoundError: there is no ``sshd`` on this computer.
    """
    from .machine import run

    return run(count)
