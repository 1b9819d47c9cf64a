"""Machines for tests: each is a folder of this computer, and commands really run there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ..contracts.machines import Completed, Machine
from ..errors import BackendError, NotFound, TimedOut, Unavailable

__all__ = ["LocalMachines"]


class LocalMachines:
    """Runs commands here, each machine's in a home folder of its own.

    A program in the home's ``bin`` takes the place of one that the computer has.
    ``environment`` is what commands find in theirs, beside ``HOME`` and ``PATH``, ``down`` the
    names of machines that cannot be reached, and ``commands`` every one that was run.
    """

    def __init__(self, homes: Mapping[str, Path]) -> None:
        self.homes = homes
        self.environment: dict[str, str] = {}
        self.down: set[str] = set()
        self.commands: list[tuple[str, tuple[str, ...]]] = []

    @property
    def all(self) -> Sequence[Machine]:
        """Every home's machine."""
        return [Machine(name, "127.0.0.1", "tester") for name in self.homes]

    async def run(
        self, machine: str, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> Completed:
        """Run *command* in the machine's home."""
        process = await self._start(machine, command, asyncio.subprocess.PIPE)
        async with _ended(process):
            try:
                async with asyncio.timeout(timeout_s):
                    out, err = await process.communicate(stdin)
            except TimeoutError:
                raise TimedOut(f"{machine}: {command[0]} took more than {timeout_s} s") from None
        return Completed(process.returncode or 0, _text(out), _text(err))

    async def follow(
        self, machine: str, command: Sequence[str], *, timeout_s: float
    ) -> AsyncGenerator[str, None]:
        """Run *command* in the machine's home, and yield its lines as they come."""
        process = await self._start(machine, command, asyncio.subprocess.STDOUT)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        async with _ended(process):
            try:
                async with asyncio.timeout(timeout_s):
                    async for line in process.stdout:
                        yield _text(line).rstrip("\n")
                    code = await process.wait()
            except TimeoutError:
                raise TimedOut(f"{machine}: {command[0]} took more than {timeout_s} s") from None
        if code:
            raise BackendError(f"{machine}: {command[0]} ended with exit code {code}")

    async def _start(
        self, machine: str, command: Sequence[str], stderr: int
    ) -> asyncio.subprocess.Process:
        if machine not in self.homes:
            raise NotFound(f"there is no machine {machine!r}")
        if machine in self.down:
            raise Unavailable(f"{machine} cannot be reached")
        self.commands.append((machine, tuple(command)))
        home = self.homes[machine]
        path = f"{home / 'bin'}:{os.environ['PATH']}"
        try:
            return await asyncio.create_subprocess_exec(
                "env",
                *command,
                cwd=home,
                env={**self.environment, "HOME": str(home), "PATH": path},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        except ValueError as error:  # a NUL character
            raise BackendError(f"{machine}: it cannot be run: {error}") from None


@asynccontextmanager
async def _ended(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """At the end of the block the process and all that it started are gone."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # else its pipes stay open


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
