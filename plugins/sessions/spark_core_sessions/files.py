"""Session files as they lie there: which there are, and what of one is new.

Nothing is believed of times alone. A *stamp* holds what changes whenever anything does: inode,
size, and both times to the nanosecond, of which the second cannot be set by a copy. A file whose
stamp is another one is hashed, and the hash decides.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from spark_core.contracts.sessions import LONGEST, SessionChanged, SessionFile, record_of

from .states import FileState

__all__ = ["Found", "Prepared", "inode_of", "prepare", "scan", "text"]

_BLOCK: Final = 4 * 1024**2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A session file; ``changed_at`` is its time of change as seconds of the epoch."""

    path: Path
    username: str
    key: str
    stamp: str
    changed_at: float


@dataclass(frozen=True)
class Prepared:
    """What is to be done with a file: ``session``, unless ``same`` says that nothing is new.

    ``state`` is what is written down when it is done. ``moved_from`` is the key under which it
    was known before.
    """

    session: SessionFile
    same: bool
    digest: str
    stamp: str
    moved_from: str | None = None


def scan(root: Path) -> list[Found]:
    """Every session file below *root*, the one that was changed first first.

    A folder in it that cannot be read has none, and keeps nobody else's waiting.

    :raises OSError: *root* is there and cannot be read.
    """
    found = [file for folder in _folders(root) for file in _files(folder)]
    return sorted(found, key=lambda file: (file.changed_at, file.key))


def _folders(root: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []


def _files(folder: os.DirEntry[str]) -> Iterable[Found]:
    try:
        with os.scandir(folder.path) as entries:
            names = [entry for entry in entries if entry.name.endswith(".jsonl")]
    except (FileNotFoundError, NotADirectoryError):
        return  # it went meanwhile
    except OSError as error:
        log.warning("the session files of %s cannot be read: %s", text(folder.name), error.strerror)
        return
    for entry in names:
        with suppress(FileNotFoundError):  # that one went meanwhile
            if entry.is_file(follow_symlinks=False):
                yield _found(folder.name, entry)


def _found(username: str, entry: os.DirEntry[str]) -> Found:
    status = entry.stat(follow_symlinks=False)
    user = text(username)
    key = f"{user}/{text(entry.name)}"
    return Found(Path(entry.path), user, key, _stamp(status), status.st_mtime)


def text(name: str) -> str:
    """*name* as a database or an answer takes it: Linux lets names be any bytes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def inode_of(stamp: str) -> str:
    """The inode that *stamp* tells; of a row from before, nothing."""
    return stamp.partition("-")[0]


def prepare(
    found: Found,
    known: FileState | None,
    before: Mapping[str, FileState],
    stop: threading.Event | None = None,
) -> Prepared:
    """What of the file *found* is new; it may take a while, and ends early when *stop* is set.

    *known* is what was written down of it, and *before* what was, by their keys, of files that
    it may be under another name.

    :raises SessionChanged: it cannot be read, or is cut off meanwhile.
    """
    try:
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            return _prepare(file, found, known, before, stop or threading.Event())
    except OSError as error:
        raise SessionChanged(f"it cannot be read: {error.strerror}") from error


def _prepare(
    file: IO[bytes],
    found: Found,
    known: FileState | None,
    before: Mapping[str, FileState],
    stop: threading.Event,
) -> Prepared:
    # Looked at before it is read: what is written from now on changes it.
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise SessionChanged("it is no file")
    size, end = status.st_size, _end_of_lines(file, status.st_size)
    states = [known] if known is not None else list(before.values())
    places = {state.position for state in states if state.position is not None}
    digests = _digests(file, {end, *(place for place in places if place <= end)}, stop)
    if known is None:
        start, moved = _moved(before, digests)
    else:
        start, moved = _start(known, digests), None
        if known.position is None and _digests(file, {size}, stop)[size] == known.digest:
            start = end
    session = SessionFile(found.path, found.username, found.key, start, end, status.st_ino)
    return Prepared(session, start == end, digests[end], _stamp(status), moved)


def _start(known: FileState, digests: Mapping[int, str]) -> int:
    """Where what is new begins: where it was read to, unless what lies before is another."""
    place = known.position
    return place if place is not None and digests.get(place) == known.digest else 0


def _moved(before: Mapping[str, FileState], digests: Mapping[int, str]) -> tuple[int, str | None]:
    """The same of a file that nobody knows, and the key that it had before if it was moved."""
    same = [
        (state.position, key)
        for key, state in before.items()
        if state.position and digests.get(state.position) == state.digest
    ]
    return max(same) if same else (0, None)


def _digests(file: IO[bytes], places: set[int], stop: threading.Event) -> dict[int, str]:
    """The MD5 of what lies before each of *places*; it tells changes, and is no protection."""
    found, done, hashed = {}, 0, hashlib.md5(usedforsecurity=False)
    file.seek(0)
    for place in sorted(places):
        while done < place:
            block = file.read(min(_BLOCK, place - done))
            if not block or stop.is_set():
                raise SessionChanged("it was cut off while it was read")
            hashed.update(block)
            done += len(block)
        found[place] = hashed.hexdigest()
    return found


def _end_of_lines(file: IO[bytes], size: int) -> int:
    """Where the last whole line ends.

    One without its line's end counts if it is a JSON object: no part of an object is one.
    """
    after = _after_newline(file, size)
    if not 0 < size - after <= LONGEST:
        return after
    file.seek(after)
    return size if record_of(file.read(size - after)) is not None else after


def _after_newline(file: IO[bytes], end: int) -> int:
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
