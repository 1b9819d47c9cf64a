"""Machines that commands are run on: the Sparks, over SSH."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["Completed", "HasPublicKey", "Machine", "Machines"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine: what people call it, where it is, and as whom commands run there."""

    name: str
    host: str
    user: str
    port: int = 22


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


@runtime_checkable
class Machines(Protocol):
    """Runs commands on machines. One connection to each is kept and shared."""

    @property
    def all(self) -> Sequence[Machine]:
        """Every machine that is configured; the first is where clients are served from."""
        ...

    async def run(
        self, machine: str, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> Completed:
        """Run *command* on *machine* to its end: a program and its arguments, one each.

        Each argument arrives unchanged, whatever is in it. What *stdin* holds is in no process
        list. Output beyond a mebibyte is cut off. Text that is not UTF-8 is replaced.

        :raises NotFound: there is no such machine.
        :raises NotConfigured: settings lack the key or the known hosts.
        :raises Unavailable: the machine cannot be reached, or proves to be another one, or the
            connection broke; whether the command ran is not known then.
        :raises TimedOut: it did not end in time; it was told to.
        """
        ...

    def follow(
        self, machine: str, command: Sequence[str], *, timeout_s: float
    ) -> AsyncGenerator[str, None]:
        """Run *command*, yielding its output by lines, stdout and stderr together.

        Raises what :meth:`run` does, and BackendError at the end where it failed.
        """
        ...


@runtime_checkable
class HasPublicKey(Protocol):
    """Machines that are reached with a key: they must let in whoever has it."""

    async def public_key(self) -> str:
        """The public half, in one line, as ``authorized_keys`` lists it.

        :raises NotConfigured: settings lack the key, or it cannot be read.
        """
        ...
