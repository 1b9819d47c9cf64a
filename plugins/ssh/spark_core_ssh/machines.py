"""The contract ``Machines``, over SSH; asyncssh is large, and imported when one is first used."""

from __future__ import annotations

import asyncio
import logging
import shlex
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from spark_core.contracts.machines import Completed, Machine
from spark_core.errors import BackendError, InvalidRequest, NotFound, TimedOut, Unavailable

from .settings import SshSettings

if TYPE_CHECKING:
    from .connection import Connection, Process

__all__ = ["SshMachines"]

#: Bytes that are kept of each of a command's outputs.
KEPT: Final = 2**20

#: The longest line that is followed, in bytes; a longer one comes in parts.
LINE: Final = 2**16

PIECE: Final = 2**15

log = logging.getLogger(__name__)


class SshMachines:
    """See :class:`~spark_core.contracts.machines.Machines`."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self.all: Sequence[Machine] = settings.contract()
        self._connections: dict[str, Connection] = {}
        for machine in self.all:
            if machine.host.rstrip(".").endswith(".local"):
                log.warning(
                    "[plugins.ssh] %s: names in .local are slow and get lost; an address is better",
                    machine.name,
                )

    async def aclose(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(each.aclose() for each in self._connections.values()))

    async def run(
        self, machine: str, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> Completed:
        """Run *command* to its end."""
        connection, line = self._connection(machine), _line(command)
        try:
            async with asyncio.timeout(timeout_s), connection.session(line) as process:
                with connection.translated():
                    return await _completed(connection.machine, process, stdin)
        except TimeoutError:
            raise _late(connection.machine, command, timeout_s) from None

    async def follow(
        self, machine: str, command: Sequence[str], *, timeout_s: float
    ) -> AsyncGenerator[str, None]:
        """Run *command*, yielding its lines."""
        connection, line = self._connection(machine), _line(command)
        deadline = asyncio.get_running_loop().time() + timeout_s
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(deadline):
                    session = connection.session(line, stderr=subprocess.STDOUT)
                    process = await stack.enter_async_context(session)
                process.stdin.write_eof()
                lines = _Lines(process.stdout)
                while True:
                    # Not around the yield: whoever reads slowly is not this command's fault,
                    # and a timeout must not end what the reader does meanwhile.
                    async with asyncio.timeout_at(deadline):
                        with connection.translated():
                            text = await lines.next()
                    if text is None:
                        break
                    yield text
                async with asyncio.timeout_at(deadline):
                    with connection.translated():
                        await process.wait_closed()
            except TimeoutError:
                raise _late(connection.machine, command, timeout_s) from None
            if code := _exit_code(connection.machine, process):
                program = command[0]
                raise BackendError(f"{machine}: {program} failed with exit code {code}")

    async def public_key(self) -> str:
        """The public half of the key, as ``authorized_keys`` lists it."""
        from .connection import read_key

        key = await asyncio.to_thread(read_key, self._settings.key_file())
        return str(key.export_public_key(), "ascii").strip()

    def _connection(self, name: str) -> Connection:
        from .connection import Connection

        if name not in self._connections:
            machine = next((each for each in self.all if each.name == name), None)
            if machine is None:
                known = ", ".join(each.name for each in self.all) or "none"
                raise NotFound(f"there is no machine {name!r}", hint=f"there are: {known}")
            self._connections[name] = Connection(machine, self._settings)
        return self._connections[name]


def _line(command: Sequence[str]) -> str:
    """*command* for a shell, which takes it apart again into the same arguments."""
    line = shlex.join(command)
    if not command or "\0" in line:
        raise InvalidRequest("a command is a program and arguments, without null characters")
    try:
        line.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("a command holds half a character") from None
    return line


async def _completed(machine: Machine, process: Process, stdin: bytes) -> Completed:
    _, stdout, stderr = await asyncio.gather(
        _feed(process, stdin), _capped(process.stdout), _capped(process.stderr)
    )
    await process.wait_closed()
    return Completed(_exit_code(machine, process), stdout, stderr)


async def _feed(process: Process, stdin: bytes) -> None:
    """Give it its input, as far as it wants it."""
    try:
        for start in range(0, len(stdin), PIECE):
            process.stdin.write(stdin[start : start + PIECE])
            await process.stdin.drain()
        process.stdin.write_eof()
    except (BrokenPipeError, ConnectionError):
        return  # it ended before it had read everything


async def _capped(reader: Any) -> str:
    """All of an output is read, so that the command goes on; the beginning is kept."""
    kept = bytearray()
    while piece := await reader.read(PIECE):
        kept += piece[: KEPT - len(kept)]
    return kept.decode("utf-8", "replace")


class _Lines:
    """Takes what comes apart into lines."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._rest = b""
        self._ended = False

    async def next(self) -> str | None:
        """The next line, without its end; None after the last."""
        while b"\n" not in self._rest and len(self._rest) < LINE and not self._ended:
            piece = await self._reader.read(PIECE)
            self._ended = not piece
            self._rest += piece
        if not self._rest:
            return None
        line, newline, _ = self._rest[:LINE].partition(b"\n")
        self._rest = self._rest[len(line) + len(newline) :]
        return line.removesuffix(b"\r").decode("utf-8", "replace")


def _exit_code(machine: Machine, process: Process) -> int:
    """A signal counts as a shell counts it.

    :raises Unavailable: the connection broke before anybody told.
    """
    code = process.returncode
    if code is None:
        raise Unavailable(f"{machine.name}: the connection broke while a command ran")
    return code if code >= 0 else 128 - code


def _late(machine: Machine, command: Sequence[str], timeout_s: float) -> TimedOut:
    return TimedOut(f"{machine.name}: {command[0]} did not end within {timeout_s:g} s")
