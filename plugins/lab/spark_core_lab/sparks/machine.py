"""One machine: its folder, the programs in it, and its SSH server."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from . import SSHD
from .place import VARIABLE, read_json, wait_until, write_json
from .swarm import services_of

__all__ = ["HOST", "Spark", "run"]

HOST: Final = "127.0.0.1"
PATIENCE: Final = 10.0

#: What is put first in the machine's ``PATH``, and in that of its containers.
PROGRAMS: Final = ("docker", "df", "ss")
IN_CONTAINERS: Final = ("vllm",)


class Spark:
    """A machine, and what a test may do to it. ``folder`` holds all of it.

    ``key`` is the private key that may log in as ``user``; ``known_hosts`` names the host key of
    every machine of the test. ``home`` is where commands begin. ``vllm_port`` is one that was
    free on this computer, for the model's server.

    Faults (:meth:`inject`, :meth:`clear`):

    ==================  ==================================================================
    ``starts_nothing``  ``launch-cluster.sh`` and ``docker run`` do nothing, and exit with 0
    ``container_stays`` ``docker stop`` fails
    ``port_stays``      (a port) something holds it once a container has ended
    ``memory_stays``    what a model took does not come back
    ``disk_full``       no container can be made; ``df`` shows no room
    ``crash``           ``{"after": 0, "exit": 1, "lines": []}``: how a model ends, while it
                        loads or later
    ``load_seconds``    how long a model loads
    ``loads_for_ever``  a model is never ready
    ``model_gib``       what a model takes of the memory's 110 GiB (60)
    ``memory_taken_gib`` what else is taken
    ``missing_images``  (names) images that there are not
    ``flattens``        ``launch-cluster.sh`` joins words with spaces, as early versions did
    ``ssh_hangs``       commands over SSH never begin
    ``no_swarm``        the machine is no node of a swarm
    ``update_fails``    ``docker service update`` changes nothing, and fails
    ``update_dies``     ``docker service update`` is killed when it has done its work
    ``knobs``           see :class:`spark_core_lab.knobs.Knobs`
    ==================  ==================================================================
    """

    def __init__(self, name: str, folder: Path, keys: Path) -> None:
        self.name, self.folder = name, folder
        self.host, self.port, self.vllm_port = HOST, free_port(), free_port()
        self.user = getpass.getuser()
        self.key, self.known_hosts = keys / "key", keys / "known_hosts"
        self.home = folder / "home"
        self.launcher = self.home / "launch-cluster.sh"
        self._server: subprocess.Popen[bytes] | None = None

    # ---------------------------------------------------------------------- what a test does

    def inject(self, fault: str, value: object = True) -> None:
        """Let it go wrong."""
        write_json(self.folder / "faults" / fault, value)
        if fault.startswith("memory"):
            self.call("lab-refresh")

    def clear(self, *faults: str) -> None:
        """Let it go well again: *faults*, or all of them."""
        for name in faults or [file.name for file in (self.folder / "faults").iterdir()]:
            (self.folder / "faults" / name).unlink(missing_ok=True)
        self.call("lab-refresh")

    def call(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command as somebody would who sits there, without SSH."""
        account = str(self.folder / "account")
        return subprocess.run(
            [account],
            env={"SSH_ORIGINAL_COMMAND": shlex.join(words)},
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def docker(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``docker`` as somebody would who sits there."""
        return self.call("docker", *words)

    @property
    def received(self) -> tuple[list[str], dict[str, str]] | None:
        """The arguments and the environment that ``vllm`` last got, if it did."""
        found = read_json(self.folder / "received")
        return found and (found["arguments"], found["environment"])

    @property
    def journal(self) -> list[dict[str, object]]:
        """Which container began and which had ended, in that order: ``what``, and ``at`` when."""
        file = self.folder / "journal"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def stop_sshd(self) -> None:
        """Let nobody reach it: the server ends, and every connection with it."""
        if self._server is not None:
            self._server.send_signal(signal.SIGSTOP)  # nobody comes in between
            self.drop()
            self._server.kill()
            self._server.wait(PATIENCE)
            self._server = None

    def start_sshd(self) -> None:
        """Listen, unless it does."""
        if self._server is not None:
            return
        words = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "sshd.log").open("ab") as log:
            self._server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"sshd does not start: {(self.folder / 'sshd.log').read_text()}")
            time.sleep(0.005)

    def drop(self) -> int:
        """Break every connection; what runs goes on, as it does there. How many there were."""
        found = [pid for pid in self._below_server() if line_of(pid).startswith("sshd: ")]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def running(self) -> list[str]:
        """The command lines of all that runs on it, but for its SSH server."""
        return [line_of(pid) for pid in self._pids()]

    # -------------------------------------------------------------------------------- inside

    def _below_server(self) -> set[int]:
        """The processes that its SSH server began, and what those began."""
        known = {self._server.pid} if self._server else set()
        while more := {pid for pid, parent in processes() if parent in known} - known:
            known |= more
        return known - {self._server.pid} if self._server else set()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self.port), 1.0):
            return True
        return False

    def _pids(self) -> list[int]:
        mark = f"{VARIABLE}={self.folder}".encode()
        found = []
        for pid, _ in processes():
            with suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found

    def close(self) -> None:
        """End all that runs on it."""
        self.stop_sshd()
        while pids := self._pids():
            for pid in pids:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)


def processes() -> Iterator[tuple[int, int]]:
    """Each process that runs, and its parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if state != "Z":
                yield int(folder.name), int(parent)


def line_of(pid: int) -> str:
    """The command line of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return ""


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as made:
        made.bind((HOST, 0))
        return int(made.getsockname()[1])


# ----------------------------------------------------------------------------------- making


@contextmanager
def run(count: int) -> Iterator[tuple[Spark, ...]]:
    """See :func:`spark_core_lab.sparks.start`."""
    if not Path(SSHD).exists():
        raise FileNotFoundError(f"{SSHD}: install openssh-server")
    with ExitStack() as stack:
        top = Path(tempfile.mkdtemp(prefix="spark-lab-")).resolve()
        stack.callback(shutil.rmtree, top, ignore_errors=True)
        for name in ("key", "host_key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]
            subprocess.run([*words, str(top / name)], check=True)
        made = tuple(Spark(f"spark{n + 1}", top / f"spark{n + 1}", top) for n in range(count))
        public = (top / "host_key.pub").read_text()
        lines = [f"[{HOST}]:{spark.port} {public}" for spark in made]
        (top / "known_hosts").write_text("".join(lines))
        for spark in made:
            furnish(spark, made)
            stack.callback(spark.close)
            spark.start_sshd()
        stack.callback(end_services, top)
        yield made


def end_services(top: Path) -> None:
    """Let nobody begin containers any more, on whichever machine."""
    for file in services_of(top).glob("*/pid"):
        pid = read_json(file)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(time.monotonic() + PATIENCE, pid)


def furnish(spark: Spark, all_: Sequence[Spark]) -> None:
    """Make the folder of a machine, with the programs and settings in it."""
    for part in ("home", "bin", "image", "faults", "memory", "containers"):
        (spark.folder / part).mkdir(parents=True)
    if os.geteuid() == 0:  # sshd wants it; a service of the system makes it elsewhere
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in PROGRAMS:
        program(spark.folder / "bin" / name, f"sparks.{name}", "main(sys.argv[1:])")
    program(spark.folder / "bin" / "lab-refresh", "sparks.place", "refresh_memory()")
    for name in IN_CONTAINERS:
        program(spark.folder / "image" / name, f"sparks.{name}", "main(sys.argv[1:])")
    variables = " ".join(VARIABLES).format(spark=spark, variable=VARIABLE)
    script(spark.folder / "begin", BEGIN.format(spark=spark))
    script(spark.home / ".bashrc", f". {spark.folder}/begin")  # Debian's bash reads that one
    script(spark.folder / "account", ACCOUNT.format(spark=spark, variables=variables))
    script(
        spark.folder / "bin" / "ssh",
        f'exec ssh -F {spark.folder}/ssh_config "$@"'.replace(
            "exec ssh", f"exec {shutil.which('ssh') or 'ssh'}"
        ),
    )
    shutil.copy(Path(__file__).with_name("launch-cluster.sh"), spark.launcher)
    nodes = ",".join(other.name for other in all_)
    (spark.home / ".env").write_text(f"CLUSTER_NODES={nodes}\nLOCAL_IP={spark.name}\n")
    (spark.folder / "ssh_config").write_text("".join(OTHER.format(spark=other) for other in all_))
    keys = spark.key.parent
    (spark.folder / "sshd_config").write_text(
        SSHD_CONFIG.format(spark=spark, keys=keys, host=HOST, variables=variables)
    )
    spark.clear()


def script(file: Path, text: str) -> None:
    """Write a program of the shell."""
    file.write_text(f"#!/bin/sh\n{text.strip()}\n")
    file.chmod(0o755)


def program(file: Path, module: str, call: str) -> None:
    """Write a program that calls a function of this package, as quickly as Python can."""
    name = call.partition("(")[0]
    parent = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.append({parent!r}); from {module} import {name}; sys.exit({call})"
    words = shlex.join([sys.executable, "-I", "-S", "-c", code])
    script(file, f'exec {words} "$@"')


#: The surroundings of whoever is on the machine, wherever they come from.
VARIABLES: Final = (
    "HOME={spark.home}",
    "PATH={spark.folder}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "LANG=C.UTF-8",
    "{variable}={spark.folder}",
    "SPARK_MEMINFO={spark.folder}/meminfo",
    "BASH_ENV={spark.folder}/begin",
)

#: What a shell does first; sshd itself would begin in the home of whoever runs the test. It is no
#: ``ForceCommand``, since sshd passes no signals on to those.
BEGIN = """
unset BASH_ENV
[ -e {spark.folder}/faults/ssh_hangs ] && exec sleep 1000
cd {spark.home}
"""

#: Runs a command as a login does, without SSH.
ACCOUNT = """
. {spark.folder}/begin
exec env -i USER={spark.user} LOGNAME={spark.user} {variables} sh -c "$SSH_ORIGINAL_COMMAND"
"""

OTHER = """
Host {spark.name}
    HostName {spark.host}
    Port {spark.port}
    User {spark.user}
    IdentityFile {spark.key}
    IdentitiesOnly yes
    UserKnownHostsFile {spark.known_hosts}
    ConnectTimeout 5
"""

SSHD_CONFIG = """
ListenAddress {host}:{spark.port}
HostKey {keys}/host_key
AuthorizedKeysFile {keys}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv {variables}
LogLevel ERROR
"""
