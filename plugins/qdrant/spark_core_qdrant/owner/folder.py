"""Where an owner's socket lies: a folder of its own, locked for as long as the owner lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PREFIX", "private_folder"]

PREFIX = "spark-qdrant-"

#: The longest path of a parent that a socket's own path, of 100 bytes or so, has room for.
LONGEST_PARENT = 70


@contextmanager
def private_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder in *parent*, the system's temporary one, which nobody else may enter.

    Its path is short enough for a socket however deep the index lies. Folders of owners that
    were killed are deleted first: whose lock can be had has lost its process.
    """
    parent = parent or _parent()
    for former in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _delete_dead(former)
    folder, lock = _made(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _parent() -> Path:
    usual = tempfile.gettempdir()
    return Path(usual if len(os.fsencode(usual)) <= LONGEST_PARENT else "/tmp")


def _delete_dead(folder: Path) -> None:
    lock = _lock(folder)
    try:
        shutil.rmtree(folder)
    finally:
        os.close(lock)


def _made(parent: Path) -> tuple[Path, int]:
    """A new folder and its lock. Before it is locked, another owner may take it for dead."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError, BlockingIOError):
            lock = _lock(folder)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _lock(folder: Path) -> int:
    """A descriptor that holds the lock of *folder*, which is this user's and no link.

    :raises OSError: it is not, or somebody else holds the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError("another user's")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
