"""Collects session files out of people's homes into one folder, ``<user>/<session>.jsonl``.

A file that grows is taken again. A copy takes the place of the one before at once, so whoever
reads there reads one or the other. What no longer begins as its copy does is another session: the
copy is kept beside it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import IO, Final

from .files import text
from .settings import SessionsSettings

__all__ = ["Collected", "collect"]

#: Those of persons begin here; below are services.
FIRST_PERSON: Final = 1000

_BLOCK: Final = 1024**2


@dataclass
class Collected:
    """What was collected; files that are as their copies are skipped."""

    users_processed: int = 0
    files_copied: int = 0
    files_skipped: int = 0
    errors: list[str] = field(default_factory=list)


def collect(settings: SessionsSettings, *, dry_run: bool = False) -> Collected:
    """Bring the copies up to date; in a *dry_run* only count what would be copied."""
    done = Collected()
    for home, owner in _homes(settings.homes):
        done.users_processed += 1
        try:
            _collect_home(home, owner, settings, done, dry_run)
        except OSError as error:  # it went meanwhile
            done.errors.append(f"{text(home.name)}: {error.strerror}")
    return done


def _collect_home(
    home: Path, owner: int, settings: SessionsSettings, done: Collected, dry_run: bool
) -> None:
    for name, source in _sessions(home, settings.collect):
        target = settings.directory / home.name / name
        try:
            copied = _collect(source, target, owner, dry_run)
        except OSError as error:  # the others need not wait for this one
            done.errors.append(f"{text(home.name)}/{text(name)}: {error.strerror}")
        else:
            done.files_copied += copied
            done.files_skipped += not copied


def _homes(folder: Path) -> Iterator[tuple[Path, int]]:
    """The homes of persons and their uids; nobody need have a name here."""
    homes: list[Path] = []
    with suppress(FileNotFoundError):
        homes = sorted(folder.iterdir())
    for home in homes:
        with suppress(FileNotFoundError):
            status = home.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid >= FIRST_PERSON:
                yield home, status.st_uid


def _sessions(home: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Each session file, with its name: what follows the part of its pattern that is fixed."""
    for pattern in patterns:
        parts = Path(pattern).parts
        fixed = len(list(takewhile(lambda part: not set(part) & set("*?["), parts[:-1])))
        for path in sorted(home.glob(pattern)):
            yield "--".join(path.relative_to(home).parts[fixed:]), path


def _collect(source: Path, target: Path, owner: int, dry_run: bool) -> bool:
    """Whether *source* was copied to *target*, or would be.

    A link is not, nor what belongs to somebody else than *owner*: it might lead to what they
    may not read.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != owner
            or _is_current(status, target)
        ):
            return False
        if not dry_run:
            _copy(file, status, target)
        return True


def _is_current(status: os.stat_result, target: Path) -> bool:
    try:
        copy = target.stat()
    except FileNotFoundError:
        return False
    return (copy.st_size, copy.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _copy(source: IO[bytes], status: os.stat_result, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
    new = Path(name)
    try:
        with open(handle, "wb") as copy:
            goes_on = _write(source, status.st_size, copy, target)
            copy.flush()
            os.fsync(copy.fileno())
            os.fchmod(copy.fileno(), 0o640)
            # The time that it had when it was looked at: what comes after is seen next time.
            os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        if not goes_on:
            _keep(target)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _write(source: IO[bytes], size: int, copy: IO[bytes], target: Path) -> bool:
    """Write the first *size* bytes of *source*; gives whether they begin as *target* does."""
    goes_on, left = True, size
    with suppress(FileNotFoundError), open(target, "rb") as before:
        goes_on = size >= os.fstat(before.fileno()).st_size
        while left and (old := before.read(min(_BLOCK, left))):
            block = source.read(len(old))
            copy.write(block)
            left -= len(block)
            if block != old:
                goes_on = False
                break
    while left and (block := source.read(min(_BLOCK, left))):
        copy.write(block)
        left -= len(block)
    return goes_on


def _keep(target: Path) -> None:
    """Keep the session that *target* holds, under a name that tells when it ended."""
    ended = target.stat().st_mtime_ns
    with suppress(FileExistsError):
        os.link(target, target.with_name(f"{target.stem}.{ended}{target.suffix}"))
