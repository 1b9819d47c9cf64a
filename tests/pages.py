"""Follows a page of the documentation as a reader does, block by block, in an empty folder."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Block", "Reader", "blocks"]

FENCE = re.compile(r"^( *)```(\w+) ?([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

#: The address that pages show.
SHOWN = "127.0.0.1:9999"

#: That of a program of the page's own.
OWN = "127.0.0.1:8787"

#: Those of the lab, by stand-in.
LAB = {
    "vllm": "127.0.0.1:8888",
    "parakeet": "127.0.0.1:8000",
    "kokoro": "127.0.0.1:8880",
    "bge_m3": "127.0.0.1:8081",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what else stands beside that, and what is in it."""

    language: str
    note: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of *page*, in order."""
    text = page.read_text("utf-8")
    for match in FENCE.finditer(text):
        _, language, note, body = match.groups()
        yield Block(language, note, textwrap.dedent(body), text.count("\n", 0, match.start()) + 1)


@dataclass
class Reader:
    """Does what a page says. What stands beside a block's language says what it is:

    - a file's name: the file that is written (```` ```toml spark.toml````); SQL is run into it;
    - nothing, at ``sh``: commands that are run; a block of ``text`` after it is what they
      write, where ``...`` stands for anything;
    - ``sh serve``: a command that runs until the page ends;
    - ``sh lab``: ``spark lab``, at free ports instead of those that the page shows;
    - ``sh example``: something that cannot be run here;
    - ``python run``: see ``tests/docs/test_snippets.py``.
    """

    home: Path
    environ: Mapping[str, str]
    _output: str = ""
    _addresses: dict[str, str] = field(
        default_factory=lambda: {shown: f"127.0.0.1:{_free_port()}" for shown in (SHOWN, OWN)}
    )

    def follow(self, page: Path, skip: int = 0) -> None:
        """Do all of *page* but its first *skip* blocks."""
        with ExitStack() as servers:
            for block in list(blocks(page))[skip:]:
                try:
                    self._do(block, servers)
                except AssertionError as error:
                    raise AssertionError(f"{page.name}:{block.line}: {error}") from None

    def _do(self, block: Block, servers: ExitStack) -> None:
        if block.note == "serve":
            servers.enter_context(self._serving(block.text))
        elif block.note == "lab":
            servers.enter_context(self._lab(block.text))
        elif block.language == "sh" and not block.note:
            self._output = self._run(block.text)
        elif block.language == "text" and not block.note:
            assert _matches(block.text, self._output), f"it writes\n{self._output}"
        elif block.language == "sql":
            with closing(sqlite3.connect(self.home / block.note)) as database:
                database.executescript(block.text)
        elif "." in block.note:
            file = self.home / block.note
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._here(block.text), "utf-8")

    def _run(self, commands: str) -> str:
        if "curl " in commands:
            _need("curl")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._here(commands)],
            cwd=self.home,
            env=self._environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{commands}{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def _serving(self, command: str) -> Iterator[None]:
        with subprocess.Popen(
            command.split(), cwd=self.home, env=self._environ, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert "Serving" in process.stdout.readline(), command
                yield
            finally:
                process.send_signal(signal.SIGINT)

    @contextmanager
    def _lab(self, command: str) -> Iterator[None]:
        ports = [f"--{name.replace('_', '-')}-port=0" for name in LAB]
        with subprocess.Popen(
            [*command.split(), "--json", *ports],
            cwd=self.home, env=self._environ, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                assert process.stdout is not None
                for name, backend in json.loads(process.stdout.readline())["backends"].items():
                    self._addresses[LAB[name]] = backend["url"].removeprefix("http://")
                yield
            finally:
                process.send_signal(signal.SIGINT)

    def _here(self, text: str) -> str:
        """*text* with the addresses of this run instead of those that pages show."""
        for shown, address in self._addresses.items():
            text = text.replace(shown, address)
        return text

    @property
    def _environ(self) -> dict[str, str]:
        return {**self.environ, "BIND_PORT": self._addresses[SHOWN].partition(":")[2]}


def _matches(shown: str, output: str) -> bool:
    """Whether *output* is what is *shown*, in which ``...`` stands for anything."""
    pattern = ".*".join(map(re.escape, shown.strip().split("...")))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def _free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _need(command: str) -> None:
    """Skip the test where *command*, of a Debian package, is missing."""
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")
