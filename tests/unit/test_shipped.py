"""What is shipped names nobody's machines, asks for no password, and sends audio nowhere."""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    ROOT / "spark_core",
    *ROOT.glob("plugins/*/spark_core_*/"),
    *ROOT.glob("hosts/*/spark_core_*/"),
)

#: Loopback, "any", and what RFC 5737 keeps for documentation.
NOBODYS = [
    ipaddress.ip_network(net)
    for net in ("127.0.0.0/8", "0.0.0.0/32", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
]

#: Hosts in addresses that are shown as examples, that name a standard or a licence.
EXAMPLES = {"", "[", "host", "spark1", "spark2", "localhost", "json-schema.org", "www.apache.org"}

#: What looks like a machine's name and is none: as whom the audit names the scheduler.
ACTORS = {"system.local"}

ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
PRIVATE_NAME = re.compile(
    r"\b[a-z0-9-]+\.(?:local|lan|internal|home\.arpa|ts\.net)\b", re.IGNORECASE
)
URL = re.compile(r"(?:https?|wss?)://([^/:\s\"'`{}<>)\\]*)")


@cache
def texts() -> tuple[tuple[Path, str], ...]:
    """Every string of the code, and every other file of text, with where it stands."""
    return tuple(
        (file, text)
        for folder in FOLDERS
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts and ".egg-info" not in str(file)
        for text in strings(file)
    )


def strings(file: Path) -> Iterator[str]:
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        return  # a model, a sound
    if file.suffix != ".py":
        yield text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def found(pattern: re.Pattern[str], part: str = "") -> set[str]:
    """What *pattern* finds, in files whose path has *part*."""
    return {
        hit[hit.lastindex or 0] for f, t in texts() if part in str(f) for hit in pattern.finditer(t)
    }


def test_items_24_no_address_is_anybodys() -> None:
    def is_anybodys(text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return not any(address in net for net in NOBODYS)

    assert [address for address in found(ADDRESS) if is_anybodys(address)] == []


def test_items_24_no_name_is_anybodys() -> None:
    assert found(PRIVATE_NAME) - ACTORS == set()
    assert {host for host in found(URL) if not host.startswith("127.")} <= EXAMPLES


def test_items_25_no_command_is_run_as_somebody_else() -> None:
    """``sudo`` is in no command, and in no script."""
    words = re.compile(r"^\s*(?:sudo|doas|pkexec)\b|[;&|(]\s*(?:sudo|doas|pkexec)\s", re.MULTILINE)
    assert found(words) == set()
    assert words.search("cd /tmp; sudo rm x")
    assert words.search("sudo")


@pytest.mark.parametrize("part", ["parakeet", "kokoro", "transcripts"])
def test_items_23_what_handles_audio_knows_no_server(part: str) -> None:
    """Audio and its transcripts go where settings say: the code itself names nobody."""
    assert any(part in str(file) for file, _ in texts())
    folder = f"spark_core_{part}/"
    assert found(URL, folder) | found(ADDRESS, folder) == set()
