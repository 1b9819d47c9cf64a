"""A connection to one machine, which is kept, shared, and made anew when it broke."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncssh

from spark_core.contracts.machines import Machine
from spark_core.errors import NotConfigured, SparkError, Unavailable

from .settings import SshSettings

__all__ = ["Connection", "Process", "read_key"]

#: A command that runs on a machine.
Process: TypeAlias = asyncssh.SSHClientProcess[bytes]

#: Commands at once: OpenSSH refuses the eleventh session, and people may be logged in, too.
SESSIONS: Final = 8

#: How long a connection may take to say goodbye, in seconds.
GOODBYE_S: Final = 2.0


class Connection:
    """Opens sessions on *machine*; connects when the first is needed."""

    def __init__(self, machine: Machine, settings: SshSettings) -> None:
        self.machine = machine
        self._settings = settings
        self._sessions = asyncio.Semaphore(SESSIONS)
        self._connecting = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None

    @asynccontextmanager
    async def session(
        self, command: str, **how: Any
    ) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        """Run *command*; when the block is left it is told to end, if it has not.

        :raises NotConfigured: the key or the known hosts cannot be used.
        :raises Unavailable: there is no connection, or it broke.
        """
        async with self._sessions:
            process = await self._begun(command, how)
            try:
                yield process
            finally:
                _end(process)

    async def _begun(self, command: str, how: Mapping[str, Any]) -> Process:
        connection = await self._connected()
        try:
            with self.translated():
                return await connection.create_process(command, encoding=None, **how)
        except Unavailable as error:
            if not (connection.is_closed() and _never_asked(error.__cause__)):
                raise
        # It had broken unnoticed, and the command was not sent: it is safe to send it now.
        connection = await self._connected()
        with self.translated():
            return await connection.create_process(command, encoding=None, **how)

    async def aclose(self) -> None:
        """Say goodbye."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            with suppress(TimeoutError, OSError, asyncssh.Error):
                async with asyncio.timeout(GOODBYE_S):
                    await connection.wait_closed()
            connection.abort()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What the SSH library raises, as ours."""
        before = _cancellations()
        try:
            yield
        except asyncssh.ChannelOpenError as error:
            if _cancellations() > before:  # asyncssh makes that of being cancelled
                raise asyncio.CancelledError from error
            hint = "too many sessions may be open there (MaxSessions of sshd)"
            raise self._unavailable(f"opens no session: {error.reason}", hint) from error
        except (asyncssh.Error, OSError) as error:
            raise self._unavailable(f"the connection broke: {_reason(error)}") from error

    # ------------------------------------------------------------------------------ connecting

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        key, hosts = read_key(self._settings.key_file()), _known(self._settings.known_hosts_file())
        watching = _HostKeys()
        machine, settings = self.machine, self._settings
        try:
            async with asyncio.timeout(settings.connect_s):
                return await asyncssh.connect(
                    machine.host,
                    machine.port,
                    username=machine.user,
                    client_keys=[key],
                    client_factory=lambda: watching,
                    known_hosts=hosts,
                    family=socket.AF_INET6 if ":" in machine.host else socket.AF_INET,
                    config=None,
                    agent_path=None,
                    preferred_auth="publickey",
                    gss_host=None,
                    pkcs11_provider=None,
                    disable_trivial_auth=True,
                    keepalive_interval=settings.keep_alive_s,
                    keepalive_count_max=3,
                )
        except TimeoutError as error:
            raise self._unavailable(f"no connection within {settings.connect_s:g} s") from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._not_known(watching.fingerprint, hosts) from error
        except asyncssh.PermissionDenied as error:
            hint = f"add the public part of {settings.key_file()} to ~/.ssh/authorized_keys there"
            raise self._unavailable(
                f"does not let {machine.user} in with this key", hint
            ) from error
        except (asyncssh.Error, OSError) as error:
            raise self._unavailable(f"cannot be reached: {_reason(error)}") from error

    def _not_known(self, fingerprint: str, hosts: asyncssh.SSHKnownHosts) -> SparkError:
        machine, file = self.machine, self._settings.known_hosts_file()
        keys, authorities, revoked, *_ = hosts.match(machine.host, "", machine.port)
        if revoked:
            return self._unavailable(f"its host key {fingerprint} may be revoked in {file}")
        if keys or authorities:
            return self._unavailable(
                f"its host key is {fingerprint}, and not the one that {file} lists",
                "if it was installed anew, compare the fingerprint there, and remove the old line; "
                "if not, somebody else answers",
            )
        scan = f"ssh-keyscan -p {machine.port} {machine.host} >> {file}"
        return self._unavailable(
            f"its host key {fingerprint} is not listed in {file}",
            f"compare the fingerprint at the machine, then add it: {scan}",
        )

    def _unavailable(self, what: str, hint: str | None = None) -> Unavailable:
        machine = self.machine
        where = f"{machine.name} ({machine.host} port {machine.port})"
        return Unavailable(f"{where}: {what}", hint=hint)


class _HostKeys(asyncssh.SSHClient):
    """Trusts no key that is not known; remembers which one it was."""

    fingerprint = "of an unknown kind"

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.fingerprint = key.get_fingerprint()
        return False


def read_key(file: Path) -> asyncssh.SSHKey:
    """The private key in *file*.

    :raises NotConfigured: there is none that can be used.
    """
    try:
        return asyncssh.read_private_key(file)
    except OSError as error:
        raise NotConfigured(f"the SSH key {file} cannot be read: {error.strerror}") from error
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError, ValueError) as error:
        # That one is needed and none was given counts as any other failure to import there.
        if isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in str(error).lower():
            hint = "use one without, of this program's own"
            raise NotConfigured(f"the SSH key {file} has a passphrase", hint=hint) from error
        raise NotConfigured(f"{file} is not a private SSH key") from error


def _known(file: Path) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(str(file))
    except OSError as error:
        hint = "make it: ssh-keyscan HOST, after you compared the fingerprints"
        reason = f"the known hosts {file} cannot be read: {error.strerror}"
        raise NotConfigured(reason, hint=hint) from error
    except ValueError as error:
        raise NotConfigured(f"{file} is not a file of known hosts: {error}") from error


def _cancellations() -> int:
    """How often this task was cancelled so far; others may have got over it long ago."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _never_asked(error: BaseException | None) -> bool:
    """Whether no session was opened."""
    if not isinstance(error, asyncssh.ChannelOpenError):
        return False
    return bool(error.code == asyncssh.OPEN_CONNECT_FAILED)


def _end(process: Process) -> None:
    """Tell it to end, which some servers cannot; its session is closed in any case."""
    with suppress(OSError, asyncssh.Error):
        if process.exit_status is None and process.exit_signal is None:
            process.terminate()
        process.close()


def _reason(error: Exception) -> str:
    if isinstance(error, asyncssh.Error):
        return error.reason or type(error).__name__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
