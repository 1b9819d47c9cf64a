"""Where commands run: on machines that are reached over SSH, or on this one."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from spark_core.contracts.machines import Completed, Machine, Machines
from spark_core.errors import BackendError, NotConfigured, TimedOut

from .settings import LOCAL

__all__ = ["LocalMachine", "Places"]

#: Bytes that are kept of each of a command's outputs, and the longest line that is followed.
KEPT: Final = 2**20
LINE: Final = 2**16
PIECE: Final = 2**15


class LocalMachine:
    """:class:`~spark_core.contracts.machines.Machines` that are this one alone."""

    def __init__(self) -> None:
        self.all: Sequence[Machine] = (Machine(LOCAL, "localhost", _user()),)

    async def run(
        self, machine: str, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> Completed:
        """Run *command* to its end."""
        try:
            async with asyncio.timeout(timeout_s), _process(command) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                assert process.stderr is not None
                _, out, err = await asyncio.gather(
                    _feed(process.stdin, stdin), _capped(process.stdout), _capped(process.stderr)
                )
                return Completed(_code(await process.wait()), out, err)
        except TimeoutError:
            raise _late(command, timeout_s) from None

    async def follow(
        self, machine: str, command: Sequence[str], *, timeout_s: float
    ) -> AsyncGenerator[str, None]:
        """Run *command*, yielding its lines."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        async with _process(command, stderr=asyncio.subprocess.STDOUT) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                while True:
                    async with asyncio.timeout_at(deadline):
                        line = await _line(process.stdout)
                    if not line:
                        break
                    yield line.decode("utf-8", "replace").rstrip("\r\n")
                async with asyncio.timeout_at(deadline):
                    code = _code(await process.wait())
            except TimeoutError:
                raise _late(command, timeout_s) from None
        if code:
            raise BackendError(f"{LOCAL}: {command[0]} failed with exit code {code}")


class Places:
    """Finds whoever runs commands on a machine."""

    def __init__(self, machines: Machines | None) -> None:
        self._machines = machines
        self._local = LocalMachine()

    def of(self, machine: str) -> Machines:
        """What runs commands on *machine*.

        :raises NotConfigured: there is no such machine.
        """
        if machine == LOCAL:
            return self._local
        if self._machines is None or machine not in (m.name for m in self._machines.all):
            known = ", ".join(
                [LOCAL, *(m.name for m in self._machines.all)] if self._machines else [LOCAL]
            )
            hint = f"set [plugins.ssh]; there are: {known}"
            raise NotConfigured(f"there is no machine {machine!r}", hint=hint)
        return self._machines

    async def run(
        self, machine: str, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0
    ) -> Completed:
        """Run *command* on *machine* to its end; see the contract."""
        return await self.of(machine).run(machine, command, stdin=stdin, timeout_s=timeout_s)


@asynccontextmanager
async def _process(
    command: Sequence[str], stderr: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is gone, with what it began, when the block is left."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=stderr, start_new_session=True, limit=LINE
        )
    except (OSError, ValueError) as error:
        raise BackendError(f"{LOCAL}: {command[0]} cannot be run: {error}") from error
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line; one without end comes in parts."""
    try:
        return await reader.readuntil()
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await reader.read(max(error.consumed, 1))


async def _feed(writer: asyncio.StreamWriter, stdin: bytes) -> None:
    with suppress(ConnectionError):  # it ended before it had read everything
        for start in range(0, len(stdin), PIECE):
            writer.write(stdin[start : start + PIECE])
            await writer.drain()
        writer.close()


async def _capped(reader: asyncio.StreamReader) -> str:
    """All of an output is read, so that the command goes on; the beginning is kept."""
    kept = bytearray()
    while piece := await reader.read(PIECE):
        kept += piece[: KEPT - len(kept)]
    return kept.decode("utf-8", "replace")


def _user() -> str:
    """Whoever runs this; in a container that may be a number without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _code(code: int) -> int:
    """A signal counts as a shell counts it."""
    return code if code >= 0 else 128 - code


def _late(command: Sequence[str], timeout_s: float) -> TimedOut:
    return TimedOut(f"{LOCAL}: {command[0]} did not end within {timeout_s:g} s")
