"""Which collections a directory holds, and where: one JSON file, replaced as a whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from spark_core.errors import BackendError, Conflict, NotFound, StorageFull

from ..engine import Build, build_of

__all__ = ["Catalog"]


class Catalog:
    """The collections of *directory*. Each generation has a folder of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "catalog.json"
        self.builds: dict[str, Build] = self._read() if self._file.exists() else {}
        self._sweep()

    def __getitem__(self, name: str) -> Build:
        if name not in self.builds:
            known = ", ".join(sorted(self.builds)) or "there is none yet"
            raise NotFound(f"there is no collection {name!r}", hint=f"collections: {known}")
        return self.builds[name]

    def folder(self, generation: str) -> Path:
        """Where the points of *generation* lie."""
        return self.directory / f"generation-{generation}"

    def add(self, name: str, build: Build) -> None:
        """Add a collection, whose folder is ready.

        :raises Conflict: there is one of that name.
        """
        if name in self.builds:
            raise Conflict(f"there is a collection {name!r} already")
        self._write({**self.builds, name: build})

    def remove(self, name: str) -> None:
        """Forget a collection; its folder is left to :meth:`clear`."""
        self._write({n: build for n, build in self.builds.items() if n != name})

    def replace(self, name: str, by: str) -> None:
        """Let *name* be *by*, which is no more, in one step."""
        self._write({**{n: b for n, b in self.builds.items() if n != by}, name: self[by]})

    def clear(self, generation: str) -> None:
        """Delete the folder of a *generation* that no collection is any more."""
        shutil.rmtree(self.folder(generation), ignore_errors=True)

    def _read(self) -> dict[str, Build]:
        try:
            stored = json.loads(self._file.read_text("utf-8"))
            return {name: build_of(build) for name, build in stored.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BackendError(
                f"{self._file}, which lists the collections, is damaged",
                hint=f"restore it from a backup, or delete {self.directory} and index anew",
            ) from error

    def _write(self, builds: dict[str, Build]) -> None:
        """Replace the file: a reader, or the next process, sees the old or the new."""
        try:
            self._write_durably(builds)
        except OSError as error:
            raise StorageFull(f"{self._file} cannot be written: {error.strerror}") from error
        self.builds = builds

    def _write_durably(self, builds: dict[str, Build]) -> None:
        temporary = self._file.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(builds, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _sweep(self) -> None:
        """Delete what a process that was killed left half made or half deleted."""
        live = {self.folder(build["generation"]) for build in self.builds.values()}
        for folder in self.directory.glob("generation-*"):
            if folder not in live:
                shutil.rmtree(folder, ignore_errors=True)
