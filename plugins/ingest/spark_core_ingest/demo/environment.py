"""What is installed in this Python environment: people, projects and notes about them.

Real data with the mess of a real CRM: one person under several names and addresses, people
known by an address alone, projects without a word about them. Nothing of it leaves the machine.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import getaddresses

__all__ = ["Note", "Person", "Project", "installed"]

#: What is read of one project's description, in characters; a few are book-length.
DESCRIPTION = 12_000

_HEADING = re.compile(r"^(?:#{1,4} +(?P<marked>.+)|(?P<lined>\S.*)\n[=~^*-]{3,}) *$", re.MULTILINE)
_NOISE = re.compile(r"<[^>\n]+>|!\[[^\]]*\]\([^)]*\)|^\s*[.\[|:].*?(?:image|badge|svg).*$", re.M)


@dataclass(frozen=True)
class Person:
    """Somebody as one project names them; either part may be empty."""

    name: str
    email: str
    role: str


@dataclass(frozen=True)
class Note:
    """A section of a project's description."""

    heading: str
    body: str


@dataclass(frozen=True)
class Project:
    """An installed distribution."""

    name: str
    version: str
    summary: str
    license: str
    keywords: str
    topics: str
    people: tuple[Person, ...]
    notes: tuple[Note, ...]


def installed() -> list[Project]:
    """Every distribution of this environment, each once, by name."""
    found: dict[str, Project] = {}
    for distribution in importlib.metadata.distributions():
        if name := _first(distribution.metadata, "Name"):
            found.setdefault(name.lower(), _project(name, distribution))
    return [found[name] for name in sorted(found)]


def _project(name: str, distribution: importlib.metadata.Distribution) -> Project:
    metadata = distribution.metadata
    classifiers = [c.split(" :: ") for c in metadata.get_all("Classifier") or []]
    licenses = [c[-1] for c in classifiers if c[0] == "License"]
    license = _first(metadata, "License-Expression") or "".join(licenses[:1])
    return Project(
        name=name,
        version=distribution.version,
        summary=_first(metadata, "Summary"),
        license=license or _first(metadata, "License").partition("\n")[0][:60],
        keywords=_first(metadata, "Keywords"),
        topics=", ".join(c[-1] for c in classifiers if c[0] in ("Topic", "Framework")),
        people=tuple(_people(metadata)),
        notes=tuple(_notes(_description(metadata))),
    )


def _people(metadata: importlib.metadata.PackageMetadata) -> Iterator[Person]:
    for role in ("Author", "Maintainer"):
        if addresses := metadata.get_all(f"{role}-email"):
            for name, email in getaddresses(addresses):
                yield Person(name.strip(), email.strip(), role.lower())
        if names := _first(metadata, role):
            yield Person(names.strip()[:200], "", role.lower())


def _description(metadata: importlib.metadata.PackageMetadata) -> str:
    payload = getattr(metadata, "get_payload", lambda: "")()
    return (_first(metadata, "Description") or str(payload or ""))[:DESCRIPTION]


def _first(metadata: importlib.metadata.PackageMetadata, key: str) -> str:
    return (metadata.get_all(key) or [""])[0] or ""


def _notes(description: str) -> Iterator[Note]:
    """The sections of a description, without pictures and markup."""
    text = _NOISE.sub(" ", description)
    heads = list(_HEADING.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    if (heads and heads[0].start() > 0) or not heads:
        yield from _note("About", text[: heads[0].start()] if heads else text)
    for head, end in zip(heads, ends, strict=False):
        yield from _note((head["marked"] or head["lined"]).strip(), text[head.end() : end])


def _note(heading: str, body: str) -> Iterator[Note]:
    body = re.sub(r"[ \t]+", " ", re.sub(r"\n\s*\n+", "\n\n", body)).strip()
    if len(body) >= 40:  # a heading with nothing under it is no note
        yield Note(heading, body)
