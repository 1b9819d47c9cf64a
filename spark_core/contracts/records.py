"""Where records come from: a CRM database or anything else that can be read in full."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

__all__ = ["Record", "RecordSource", "Scalar"]

#: What a metadata field may hold.
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Record:
    """One thing the CRM knows, ready to be indexed.

    A plain dataclass, not a pydantic model: a source yields millions of them.

    ``kind`` and ``id`` name it. Where a source has several rows of one id, each is kept,
    told apart by ``occurrence`` (0 for the first). ``metadata`` is returned with hits and
    usable in filters.
    """

    kind: str
    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    occurrence: int = 0


@runtime_checkable
class RecordSource(Protocol):
    """Reads records, never writes."""

    async def counts(self) -> Mapping[str, int]:
        """How many records each kind has, by the kind's name; rows without an id are none.

        :raises NotConfigured: nothing says what to read.
        :raises SourceError: the source cannot be read, or its mapping does not fit it.
        """
        ...

    async def without_id(self) -> Mapping[str, int]:
        """How many rows of each kind have no id, so that they are no records.

        A kind that has none may be missing. Raises what :meth:`counts` does.
        """
        ...

    async def version(self) -> str | None:
        """A token, at most 200 characters, that is another one once the source has changed.

        Told without reading the records. It may change without need; ``None`` where the source
        cannot tell.

        :raises SourceError: the source cannot be read.
        """
        ...

    async def find(self, kind: str, id: str) -> Sequence[Record]:
        """The records of *kind* that are called *id*, as :meth:`records` has them; perhaps none.

        :raises NotFound: there is no such kind.
        :raises SourceError: the source cannot be read.
        """
        ...

    def records(self, kind: str, *, batch: int = 500) -> AsyncGenerator[Sequence[Record], None]:
        """Every record of *kind*, in batches of at most *batch*.

        Equal ids come one after the other. Rows without an id are left out. All text is
        valid Unicode, all numbers are finite. Memory stays bounded however many records
        there are. Whoever stops before the end closes it (:func:`contextlib.aclosing`).

        :raises NotFound: there is no such kind.
        :raises SourceError: the source cannot be read.
        """
        ...
