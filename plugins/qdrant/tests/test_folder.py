"""The folders that owners' sockets lie in: none is left of those that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from spark_core_qdrant.owner.folder import PREFIX, private_folder

LIVE = """
import sys
from pathlib import Path
from spark_core_qdrant.owner.folder import private_folder

with private_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another owner, as far as its folder goes."""
    command = [sys.executable, "-c", LIVE, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def folder_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_the_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    """Nobody else may enter it."""
    with private_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_the_folder_of_a_killed_owner_is_deleted_by_the_next(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    """Whichever directory that one is for."""
    former = folder_of(other)
    (former / "owner.sock").touch()
    other.kill()
    other.wait()
    with private_folder(tmp_path):
        assert not former.exists()


def test_the_folder_of_a_live_owner_is_left_alone(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    """A folder's lock is held for as long as its process lives."""
    folder = folder_of(other)
    with private_folder(tmp_path):
        assert folder.exists()


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """A link to a folder, a file, a folder of another name, another user's folder."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(kept)
    (tmp_path / f"{PREFIX}file").touch()
    theirs = tmp_path / f"{PREFIX}theirs"
    theirs.mkdir()
    if os.geteuid() == 0:
        os.chown(theirs, 65534, 65534)
    else:
        theirs.rmdir()
    before = sorted(tmp_path.iterdir())
    with private_folder(tmp_path) as folder:
        assert sorted(path for path in tmp_path.iterdir() if path != folder) == before
