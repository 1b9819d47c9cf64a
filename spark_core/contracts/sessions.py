"""Session processors: each reads the files that people's sessions are written to, once.

A session file is JSON lines that grow while the session goes on, ``<user>/<session>.jsonl``.
A processor is one async function over one such file. It names what it needs by type, as an
operation does, the :class:`SessionFile` among it::

    async def count_words(session: SessionFile, state: State) -> ProcessorResult:
        for record in session.records(new=True):
            ...
        return ProcessorResult(items_count=17)

    SessionProcessor("words", "every 10m", "firm.words:count_words")

It runs in a process of its own, which may be killed at any moment. When it returns, the file is
done up to :attr:`SessionFile.end`; when it raises, nothing is written down, and it gets the file
again later. So it may see again what it saw before, and must give that the same ids.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ..declarations import Job
from ..errors import Conflict, PluginError
from ..references import Referable

if TYPE_CHECKING:
    from ..settings import Settings

__all__ = ["ProcessorResult", "SessionChanged", "SessionFile", "SessionProcessor", "record_of"]

#: The longest line that is read, in bytes; one that is longer is left out.
LONGEST: Final = 32 * 1024**2

_BLOCK: Final = 1024**2

Record = dict[str, Any]


class SessionChanged(Conflict):
    """A session file was cut off or replaced while it was read: it is read again later."""


@dataclass(frozen=True)
class ProcessorResult:
    """What came of a file: how many items were found that were not known before."""

    items_count: int = 0


@dataclass(frozen=True)
class SessionFile:
    """A need of session processors: the file that is to be processed.

    ``key`` names it, ``<folder>/<file>``. It is read up to the byte ``end``, which ends a whole
    line. What lies before ``start`` was processed before and has not changed since. ``inode`` is
    that of the file that is meant, where it is known.
    """

    path: Path
    username: str
    key: str
    start: int
    end: int
    inode: int | None = None

    def records(self, *, new: bool = False) -> Iterator[Record]:
        """Its records in order, or the *new* ones alone; what is no JSON object is left out.

        Bytes that are not UTF-8 come as ``U+FFFD``. Lines are read as they are asked for.

        :raises SessionChanged: it was cut off or replaced meanwhile.
        """
        with self._open() as file:
            for line in _lines(file, self.start if new else 0, self.end):
                if (record := record_of(line)) is not None:
                    yield record

    def newest(self) -> Iterator[Record]:
        """Its records, the newest first; no more is read than is asked for.

        :raises SessionChanged: it was cut off or replaced meanwhile.
        """
        with self._open() as file:
            for line in _lines_backwards(file, self.end):
                if (record := record_of(line)) is not None:
                    yield record

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        import os

        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise SessionChanged(f"{self.key} cannot be opened: {error.strerror}") from error
        with open(descriptor, "rb", buffering=_BLOCK) as file:
            status = os.fstat(file.fileno())
            if status.st_size < self.end or self.inode not in (None, status.st_ino):
                raise SessionChanged(f"{self.key} was replaced while it was read")
            yield file


@dataclass(frozen=True)
class SessionProcessor:
    """A processor of session files, called ``name``, which runs on ``schedule``.

    ``available`` says whether it can do anything just now; it is asked anew each time, and names
    what it needs by type. ``timeout`` limits one run over all files, ``file_timeout`` one file,
    both in seconds; None leaves the latter to settings. ``cadence`` is as that of a
    :class:`~spark_core.declarations.Job`.
    """

    name: str
    schedule: str
    process: Referable[Callable[..., Awaitable[ProcessorResult]]]
    timeout: float = 300.0
    file_timeout: float | None = None
    available: Referable[Callable[..., bool]] | None = None
    cadence: Referable[Callable[[Settings], str]] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,59}", self.name):
            raise PluginError(f"session processor {self.name!r}: its name is not a small word")

    @cached_property
    def job(self) -> Job:
        """The job that runs it; core offers it to schedulers."""
        return Job(
            f"session-processor:{self.name}",
            self.schedule,
            "sessions.run",
            {"processor": self.name},
            self.timeout,
            cadence=self.cadence,
        )


def record_of(line: bytes) -> Record | None:
    """The JSON object that *line* is, None where it is none."""
    import json

    try:
        found = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _lines(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    left, is_rest = end - start, False  # of a line that is too long
    while left:
        line = file.readline(min(left, LONGEST))
        if not line:
            raise SessionChanged("it was cut off while it was read")
        left -= len(line)
        is_whole = line.endswith(b"\n") or not left
        if is_whole and not is_rest:
            yield line
        is_rest = not is_whole


def _lines_backwards(file: IO[bytes], end: int) -> Iterator[bytes]:
    pieces: list[bytes] = []  # of the line whose beginning was not read yet, the last first
    size = 0
    while end:
        start = max(0, end - _BLOCK)
        first, *others = _block(file, start, end).split(b"\n")
        for other in reversed(others):
            if (size := size + len(other)) <= LONGEST:
                yield b"".join(reversed([*pieces, other]))
            pieces, size = [], 0
        size += len(first)
        pieces = [*pieces, first] if size <= LONGEST else []
        end = start
    if size <= LONGEST:
        yield b"".join(reversed(pieces))


def _block(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    block = file.read(end - start)
    if len(block) < end - start:
        raise SessionChanged("it was cut off while it was read")
    return block
