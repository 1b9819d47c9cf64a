"""A stand-in for ``ss -Hltn``: it shows the listening sockets of this machine alone.

All machines of a test share one loopback interface; whose a socket is, the environment of the
process that holds it tells.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .place import VARIABLE, here

__all__ = ["main"]

LISTEN = "0A"


def main(words: Sequence[str]) -> int:
    """``ss``"""
    wanted = re.search(r"sport = :(\d+)", " ".join(words))
    ours = set(sockets())
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            port = int(local.rpartition(":")[2], 16)
            if state == LISTEN and rest[5] in ours and wanted and port == int(wanted[1]):
                print(f"LISTEN 0      2048       127.0.0.1:{port}       0.0.0.0:*")
    return 0


def sockets() -> Iterator[str]:
    """The inodes of the sockets that processes of this machine hold."""
    mark = f"{VARIABLE}={here()}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark not in (process / "environ").read_bytes().split(b"\0"):
                continue
            for file in (process / "fd").iterdir():
                if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(file)):
                    yield found[1]
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
