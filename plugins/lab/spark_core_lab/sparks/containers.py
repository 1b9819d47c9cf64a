"""Containers of the stand-in for ``docker``: folders, and processes of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from .place import (
    here,
    read_json,
    write_json,
)

__all__ = ["PATIENCE", "Container", "containers", "fail", "find", "need", "now"]

PATIENCE = 10.0


def fail(message: str, code: int = 1) -> NoReturn:
    """End as docker does."""
    print(message, file=sys.stderr)
    raise SystemExit(code)


def now() -> str:
    """The moment, as docker writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


# --------------------------------------------------------------------------------- containers


class Container:
    """A container: a folder with what it is, and how it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.config: dict[str, Any] = read_json(folder / "config") or {}
        self.log = folder / "log"
        self.files = folder / "files"

    @property
    def state(self) -> dict[str, Any]:
        """How it is now."""
        return read_json(self.folder / "state") or {"Status": "removing"}

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.config.get("Name", ""))

    @property
    def running(self) -> bool:
        """Whether it runs, or will again without being told to."""
        return self.state["Status"] in ("running", "restarting", "paused")

    def change(self, **fields: Any) -> None:
        """Say how it is from now on."""
        if self.folder.is_dir():
            write_json(self.folder / "state", {**self.state, **fields})

    def members(self) -> list[int]:
        """The groups of processes that belong to it."""
        return [int(file.name) for file in (self.folder / "members").glob("[0-9]*")]

    def spawn(self, command: Sequence[str], environment: Mapping[str, str], out: Any) -> Any:
        """Run *command* in it."""
        words = [self.inside(word) for word in command]
        variables = {**self.config["Environment"], **environment}
        try:
            process = subprocess.Popen(
                words, env=variables, stdout=out, stderr=out, start_new_session=True, cwd=self.files
            )
        except OSError as error:
            fail(f"OCI runtime exec failed: exec: {command[0]!r}: {error.strerror}", 127)
        (self.folder / "members" / str(process.pid)).touch()
        return process

    def inside(self, word: str) -> str:
        """*word*, where it names a file that lies in the container, or its log."""
        if word.startswith("/") and (self.files / word[1:]).exists():
            return str(self.files / word[1:])
        return word.replace("/proc/1/fd/1", str(self.log))

    def inspected(self) -> dict[str, Any]:
        """What ``docker inspect`` shows."""
        state = self.state
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Created": self.config["Created"],
            "State": {
                "Status": state["Status"],
                "Running": self.running,
                "Restarting": state["Status"] == "restarting",
                "Paused": state["Status"] == "paused",
                "OOMKilled": False,
                "Pid": state.get("Pid", 0),
                "ExitCode": state.get("ExitCode", 0),
                "StartedAt": state.get("StartedAt", "0001-01-01T00:00:00Z"),
                "FinishedAt": state.get("FinishedAt", "0001-01-01T00:00:00Z"),
                **({"Health": state["Health"]} if "Health" in state else {}),
            },
            "RestartCount": state.get("RestartCount", 0),
            "Image": "sha256:" + "5a" * 32,
            "Config": {
                "Image": self.config["Image"],
                "Cmd": self.config["Command"],
                "Env": [f"{k}={v}" for k, v in self.config["Environment"].items()],
                "Labels": self.config["Labels"],
            },
            "HostConfig": {
                "Binds": self.config["Volumes"],
                "RestartPolicy": {"Name": self.config["Restart"]},
                "AutoRemove": self.config["Remove"],
            },
        }


def containers() -> list[Container]:
    """All of them, the newest first."""
    folders = [f for f in (here() / "containers").iterdir() if (f / "state").exists()]
    found = [container for folder in folders if (container := Container(folder)).config]
    return sorted(found, key=lambda c: str(c.config.get("Created")), reverse=True)


def find(name: str) -> Container | None:
    """The one that is called *name*, or whose id begins so."""
    for container in containers():
        if container.name == name.lstrip("/") or (name and container.id.startswith(name)):
            return container
    return None


def need(name: str) -> Container:
    """The one that is called *name*, or the end."""
    return find(name) or fail(f"Error response from daemon: No such container: {name}")
