"""Laying files over those in a container: done again, it changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spark_core.errors import BackendError, Conflict, SettingsError

from .actions import CONTROL_S, ServiceName, control
from .catalog import Patches, ServiceCatalog
from .steps import Steps, Work, Workshop

__all__ = ["patch_service"]

#: The most that a folder of patches may hold, in bytes: they are sent in one piece.
LARGEST: Final = 64 * 1024**2

#: Seconds that copying them may take.
COPY_S: Final = 120.0


@dataclass(frozen=True)
class Overlay:
    """The files that are laid over a container's, each by its path there."""

    files: Mapping[str, bytes]

    @property
    def hashes(self) -> Mapping[str, str]:
        """The SHA-256 of each file."""
        return {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}

    @property
    def digest(self) -> str:
        """What tells this overlay from any other."""
        told = "".join(f"{path}\0{hash}\0" for path, hash in self.hashes.items())
        return hashlib.sha256(told.encode()).hexdigest()

    def archive(self) -> bytes:
        """All files in a tar archive, as `docker cp - container:/` takes it."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for path, data in self.files.items():
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(data), 0o644
                archive.addfile(entry, io.BytesIO(data))
        return out.getvalue()


def read_overlay(patches: Patches) -> Overlay:
    """The files of *patches*, in order.

    :raises SettingsError: there are none, or some that cannot be copied.
    """
    folder = patches.folder
    files: dict[str, bytes] = {}
    try:
        for file in sorted(folder.rglob("*")):
            if file.is_symlink() or not (file.is_file() or file.is_dir()):
                raise SettingsError(f"{file} is no regular file, and cannot be copied")
            if file.is_file():
                files[f"{patches.into}/{_name(file, folder)}"] = file.read_bytes()
            if sum(map(len, files.values())) > LARGEST:
                raise SettingsError(f"{folder} holds more than {LARGEST} bytes")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be read: {error.strerror}") from error
    if not files:
        raise SettingsError(f"there are no patches in {folder}")
    return Overlay(files)


def _name(file: Path, folder: Path) -> str:
    name = file.relative_to(folder).as_posix()
    if not name.isprintable() or "\\" in name:
        raise SettingsError(f"{folder} has a file whose name cannot be copied: {name!r}")
    return name


def patch_service(request: ServiceName, catalog: ServiceCatalog, workshop: Workshop) -> Steps:
    """Lay a service's patches over the files in its container, restart it, and see that it is well.

    Where all of that was done before, nothing is.
    """
    service = catalog.find(request.name)
    patches = service.patches
    if patches is None:
        raise Conflict(f"{service.name} has no patches", hint="name them: patches in services.yaml")

    async def steps(work: Work) -> Steps:
        overlay = await asyncio.to_thread(read_overlay, patches)
        async for step in _patched(work, overlay, workshop):
            yield step

    return workshop.do(service, steps)


async def _patched(work: Work, overlay: Overlay, workshop: Workshop) -> Steps:
    service, remembered = work.service, workshop.sightings
    yield work.step("compare", "running")
    # Remembered when it was well afterwards: files that were copied by somebody who was killed
    # before the restart are there, and are not what runs.
    done = f"{await _container_id(work)} {overlay.digest}"
    if await remembered.patched(service.name) == done and await _holds(work, overlay):
        yield work.step("compare", "unchanged", f"all {len(overlay.files)} files are there already")
        return
    yield work.step("compare", "done", f"{len(overlay.files)} files are to be copied")
    yield work.step("copy", "running")
    await _copy(work, overlay)
    yield work.step("copy", "done")
    restart = control(service, "restart")
    async for step in work.command("restart", *restart, within_s=CONTROL_S):
        yield step
    async for step in work.health():
        yield step
    if not await _holds(work, overlay):
        raise BackendError(
            f"{service.name}: the files are not there any more after the restart",
            hint="a container that is made anew with each start cannot be patched",
        )
    await remembered.set_patched(service.name, done)
    yield work.step("verify", "done", f"{service.name} runs with {len(overlay.files)} patches")


async def _container_id(work: Work) -> str:
    name = work.service.container_name
    command = ("docker", "inspect", "--type", "container", "--format", "{{.Id}}", name)
    done = await work.observer.run(work.service, command)
    if done.exit_code:
        raise BackendError(f"there is no container {name} to be patched")
    return done.stdout.strip()


async def _holds(work: Work, overlay: Overlay) -> bool:
    """Whether each file in the container is that of *overlay*; not, where it does not run."""
    command = ("docker", "exec", work.service.container_name, "sha256sum", "--", *overlay.files)
    done = await work.observer.run(work.service, command)
    return [line.split()[0] for line in done.stdout.splitlines()] == [*overlay.hashes.values()]


async def _copy(work: Work, overlay: Overlay) -> None:
    machines, machine = work.observer.where(work.service)
    name, archive = work.service.container_name, await asyncio.to_thread(overlay.archive)
    done = await machines.run(
        machine, ("docker", "cp", "-", f"{name}:/"), stdin=archive, timeout_s=min(work.left, COPY_S)
    )
    if done.exit_code:
        said = (done.stderr.strip().splitlines() or [""])[-1][:300]
        raise BackendError(f"{work.service.name}: the patches cannot be copied: {said}")
