"""The operations that add notes and tags, and take them away. Each can be undone."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from spark_core import Caller, Change
from spark_core.clock import Clock
from spark_core.contracts.records import RecordSource
from spark_core.errors import Conflict, NotConfigured, NotFound, SparkError

from ..entities.registry import Entities
from .points import AnnotationIndex
from .store import Annotation, Annotations, tag_id

__all__ = [
    "Annotating",
    "add_note",
    "list_notes",
    "open_annotating",
    "remove_note",
    "tag_entity",
    "undo",
    "untag_entity",
]

Key = tuple[str, str]


@asynccontextmanager
async def open_annotating(
    annotations: Annotations,
    index: AnnotationIndex,
    entities: Entities | None,
    source: RecordSource | None,
    clock: Clock,
) -> AsyncIterator[Annotating]:
    """All that is needed to annotate."""
    yield Annotating(annotations, index, entities, source, clock)


class Annotating:
    """Finds what is annotated, and writes: to the state first, then to the index."""

    def __init__(
        self,
        annotations: Annotations,
        index: AnnotationIndex,
        entities: Entities | None,
        source: RecordSource | None,
        clock: Clock,
    ) -> None:
        self.annotations = annotations
        self._index = index
        self._entities = entities
        self._source = source
        self._clock = clock

    async def members(self, entity: str) -> Sequence[Key]:
        """The records of *entity*, the oldest first.

        :raises NotFound: there is no such entity.
        """
        if self._entities is None:
            raise NotConfigured("no entities are known here", hint="spark ingest resolve")
        members = await self._entities.members(entity)
        if not members:
            raise NotFound(f"no record belongs to the entity {entity!r} any more")
        return members

    async def entity_of(self, key: Key) -> str | None:
        """The entity of a record, if it is known."""
        return (await self._entities.of([key])).get(key) if self._entities else None

    async def title_of(self, key: Key) -> str:
        """What the record is called.

        :raises NotFound: there is no such record.
        """
        found = await self._source.find(*key) if self._source else ()
        if not found:
            raise NotFound(f"there is no {key[0]} {key[1]!r}")
        return found[0].title

    async def made(self, kind: Any, about: Key, text: str, author: str) -> Annotation:
        """A new annotation, which is not written yet.

        :raises NotFound: there is no such record.
        """
        return Annotation(
            id=tag_id(about, text) if kind == "tag" else uuid.uuid4().hex,
            kind=kind,
            about_kind=about[0],
            about_id=about[1],
            title=await self.title_of(about),
            text=text,
            author=author[:200],
            at=self._clock.now(),
        )

    async def exchange(self, gone: Sequence[Annotation], come: Sequence[Annotation]) -> str | None:
        """Put *come* in the place of *gone*; why searches do not show it yet, if they do not.

        :raises Conflict: see :meth:`.store.Annotations.exchange`.
        """
        await self.annotations.exchange(gone, come)
        try:
            await self._index.exchange(gone, come)
        except SparkError as error:  # it is written, and the next run will index it
            return f"it is kept, and will be found after the next sync: {error}"
        return None


def _told(annotations: Sequence[Annotation]) -> dict[str, Any] | None:
    """*annotations* as the audit has them."""
    if not annotations:
        return None
    return {f"{annotations[0].kind}s": [one.model_dump(mode="json") for one in annotations]}


def _heard(fields: Any) -> list[Annotation]:
    """The annotations that :func:`_told` told."""
    return [Annotation.model_validate(one) for some in (fields or {}).values() for one in some]


async def undo(change: Change, annotating: Annotating) -> None:
    """Take back what any operation here did."""
    await annotating.exchange(_heard(change.after), _heard(change.before))


# ---------------------------------------------------------------------------------------- notes


class Noted(BaseModel, defer_build=True):
    """A note, and whose it is."""

    note: Annotation
    entity: str | None = Field(description="Who or what the record is of, where that is known.")
    problem: str | None = Field(default=None, description="Why searches do not show it yet.")


class AddNote(BaseModel, defer_build=True):
    """What to note, and about whom or what: an entity, or a record."""

    text: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=100_000, description="The note itself."
    )
    entity: str | None = Field(default=None, description="The entity that it is about, or:")
    kind: str | None = Field(default=None, description="the kind of the record, with")
    id: str | None = Field(default=None, description="its id.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        by_record = self.kind is not None and self.id is not None
        if (self.entity is None) != by_record or (self.kind is None) != (self.id is None):
            raise ValueError("needs either an entity, or a kind and an id")
        return self


async def add_note(
    request: AddNote, annotating: Annotating, caller: Caller, change: Change
) -> Noted:
    """Note something about an entity or a record; searches find it at once.

    It is kept beside the CRM, never in it.
    """
    if request.entity is not None:
        about = (await annotating.members(request.entity))[0]
    else:
        about = (request.kind or "", request.id or "")
    note = await annotating.made("note", about, request.text, caller.name)
    change.tell(f"note {note.id}", before=None, after=_told([note]))
    problem = await _unless_refused(annotating.exchange([], [note]), change)
    return Noted(note=note, entity=await annotating.entity_of(about), problem=problem)


async def _unless_refused(exchange: Any, change: Change) -> str | None:
    """Await *exchange*, which is told before it begins; take that back where nothing was done."""
    try:
        problem: str | None = await exchange
    except SparkError:
        change.tell("", before=None, after=None)
        raise
    return problem


class RemoveNote(BaseModel, defer_build=True):
    """Which note to remove."""

    id: str


async def remove_note(request: RemoveNote, annotating: Annotating, change: Change) -> Noted:
    """Remove a note that was added here. The audit keeps it."""
    found = await annotating.annotations.named([request.id])
    if not found or found[0].kind != "note":
        raise NotFound(f"there is no note {request.id!r}", hint="spark notes list")
    change.tell(f"note {request.id}", before=_told(found), after=None)
    problem = await _unless_refused(annotating.exchange(found, []), change)
    return Noted(note=found[0], entity=await annotating.entity_of(found[0].about), problem=problem)


class ListNotes(BaseModel, defer_build=True):
    """Whose notes to list; the newest of all where nothing is said."""

    entity: str | None = Field(default=None, description="Only notes about this entity.")
    limit: int = Field(default=50, ge=1, le=1000)


class Notes(BaseModel, defer_build=True):
    """Notes, the newest first."""

    notes: list[Annotation]


async def list_notes(request: ListNotes, annotating: Annotating) -> Notes:
    """List the notes that were added here, the newest first."""
    if request.entity is None:
        return Notes(notes=await annotating.annotations.newest("note", request.limit))
    members = await annotating.members(request.entity)
    found = await annotating.annotations.about(members, "note")
    return Notes(notes=found[: request.limit])


# ----------------------------------------------------------------------------------------- tags


def _normal(tag: str) -> str:
    """A tag as it is kept: the same however it is typed."""
    return " ".join(unicodedata.normalize("NFKC", tag).casefold().split())


Tag = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_normal)]


class TagEntity(BaseModel, defer_build=True):
    """A tag, and whose."""

    entity: str = Field(description="The entity.")
    tag: Tag = Field(description="A word or two; capitals make no difference.")


class Tagged(BaseModel, defer_build=True):
    """An entity's tags."""

    entity: str
    tags: list[str]
    problem: str | None = Field(default=None, description="Why searches do not show it yet.")


async def tag_entity(
    request: TagEntity, annotating: Annotating, caller: Caller, change: Change
) -> Tagged:
    """Give an entity a tag; searches find it at once. One that it has is no change."""
    if not request.tag:
        raise Conflict("a tag of blanks alone is none")
    members = await annotating.members(request.entity)
    problem = None
    if not await _with_tag(annotating, members, request.tag):
        tag = await annotating.made("tag", members[0], request.tag, caller.name)
        change.tell(f"entity {request.entity}", before=None, after=_told([tag]))
        problem = await _unless_refused(annotating.exchange([], [tag]), change)
    return await _tagged(request.entity, annotating, members, problem)


async def untag_entity(request: TagEntity, annotating: Annotating, change: Change) -> Tagged:
    """Take a tag from an entity. One that it has not is no change."""
    members = await annotating.members(request.entity)
    problem = None
    if found := await _with_tag(annotating, members, request.tag):
        change.tell(f"entity {request.entity}", before=_told(found), after=None)
        problem = await _unless_refused(annotating.exchange(found, []), change)
    return await _tagged(request.entity, annotating, members, problem)


async def _with_tag(annotating: Annotating, members: Sequence[Key], tag: str) -> list[Annotation]:
    return [one for one in await annotating.annotations.about(members, "tag") if one.text == tag]


async def _tagged(
    entity: str, annotating: Annotating, members: Sequence[Key], problem: str | None
) -> Tagged:
    tags = {one.text for one in await annotating.annotations.about(members, "tag")}
    return Tagged(entity=entity, tags=sorted(tags), problem=problem)
