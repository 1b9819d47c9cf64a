"""A folder for the time of one run, which holds what the CRM holds: nothing of it may stay."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PREFIX", "scratch"]

#: What the folders' names begin with.
PREFIX = "spark-entities-"


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder. What runs left that were killed is cleared away first."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _clear(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with (folder / "new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # From the moment that others see it, it is locked.
            os.rename(folder / "new", folder / "lock")
            yield folder


def _clear(left: Path) -> None:
    """Delete a folder whose process is gone, and its lock with it; others are left alone."""
    with suppress(OSError), (left / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
