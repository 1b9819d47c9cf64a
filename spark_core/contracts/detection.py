"""What is private in a text: who finds it, and who knows the names to look for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = [
    "Finding",
    "FollowedEntities",
    "KnownChanges",
    "KnownEntities",
    "KnownEntity",
    "TextDetector",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """A piece of a text that is private.

    ``start`` and ``end`` count code points of the text as it was given; the end is exclusive.
    ``kind`` is a word in capitals such as ``PERSON``. Two findings with the same ``identity``
    are the same person or thing: ``entity:<id>`` for one that is known, else the kind and the
    value in one form. ``part`` says which part of a name it is, ``given`` or ``family``; it is
    empty for the whole. ``score`` is from 0 to 1.
    """

    kind: str
    start: int
    end: int
    identity: str
    part: str = ""
    score: float = 1.0
    detector: str = ""


@runtime_checkable
class TextDetector(Protocol):
    """Finds private pieces of texts. All installed ones are asked, and all must answer."""

    @property
    def name(self) -> str:
        """What it is called where it failed."""
        ...

    async def find(self, text: str) -> Sequence[Finding]:
        """What is private in *text*, in any order; findings may overlap.

        Whatever it raises keeps the text from leaving. What it raises must not hold a piece of
        the text. It must not block the event loop.
        """
        ...


@dataclass(frozen=True, slots=True)
class KnownEntity:
    """A person or a firm that is known, by all that it is known by, as it was written.

    ``kind`` is ``PERSON`` or ``ORGANIZATION``. ``names`` are whole names and aliases, in any
    order of their words (``Ada Example``, ``Example, Ada``); ``given`` and ``family`` are a
    person's names where they are known apart. ``numbers`` are customer numbers and the like.

    ``record`` is what tells it, if that is not the entity itself: several records may tell of one
    entity, and one record of several. A change takes the place of all that the record told.
    """

    id: str
    kind: str = "PERSON"
    names: tuple[str, ...] = ()
    given: str = ""
    family: str = ""
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    births: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    record: str = ""


@dataclass(frozen=True, slots=True)
class KnownChanges:
    """What all ``records`` that have changed tell now, at ``version``: nothing if they are gone.

    A record goes by the ``record`` of its entities, by their ``id`` where that is empty.
    """

    version: str
    records: Mapping[str, Sequence[KnownEntity]]


@runtime_checkable
class KnownEntities(Protocol):
    """Whoever knows names: a CRM, for instance."""

    async def version(self) -> str:
        """A token that is another one as soon as any entity has changed.

        It is asked for before every text, so it must be quick.

        :raises SparkError: it cannot be told now; no text leaves meanwhile.
        """
        ...

    def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        """All entities, in batches; one id may come more than once, each time with more of it.

        :raises SparkError: they cannot be read now.
        """
        ...


@runtime_checkable
class FollowedEntities(KnownEntities, Protocol):
    """Knows, too, what has changed. Of others all is read again whenever anything has."""

    async def changes(self, since: str) -> KnownChanges | None:
        """What has changed since the version *since*, ``None`` where that is not known.

        More may be told than has changed, and nothing that happened before the version of the
        answer may be left out.

        :raises SparkError: it cannot be told now.
        """
        ...
