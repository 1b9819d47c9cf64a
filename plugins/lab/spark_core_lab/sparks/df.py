"""A stand-in for ``df``: the machine's own, unless its disk is to be full."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .place import fault

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """``df``"""
    if not fault("disk_full"):
        os.execv("/bin/df", ["df", *words])
    print("Filesystem     1024-blocks      Used Available Capacity Mounted on")
    print("/dev/lab         976762584 976762584         0     100% /")
    return 0
