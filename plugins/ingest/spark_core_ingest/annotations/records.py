"""The operation that shows one record: of the CRM, or one that was added here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from spark_core.contracts.records import Record, RecordSource
from spark_core.errors import NotConfigured, NotFound

from ..labels import Entities
from .store import KINDS, Annotation, Annotations

__all__ = ["show_record"]


class RecordRequest(BaseModel, defer_build=True):
    """Which record."""

    kind: str = Field(description="Its kind, as hits have it.")
    id: str = Field(description="Its id, as hits have it.")
    max_characters: int = Field(
        default=20_000, ge=1, le=1_000_000, description="Longer texts are cut."
    )


class RecordShown(BaseModel, defer_build=True):
    """A record."""

    kind: str
    id: str
    title: str
    text: str
    cut: bool = Field(default=False, description="Whether the text is longer.")
    metadata: dict[str, Any]
    entity: str | None = Field(description="Who or what it is of, where that is known.")
    rows: int = Field(
        default=1,
        description="How many rows of the source have this id; their texts follow each other.",
    )
    notes: list[Annotation] = Field(description="What was noted about it, the newest first.")
    tags: list[str]


async def show_record(
    request: RecordRequest,
    source: RecordSource | None,
    annotations: Annotations,
    entities: Entities | None,
) -> RecordShown:
    """Show one record, as the CRM has it now, with what was noted about it."""
    key = (request.kind, request.id)
    records = await _records(request, source, annotations)
    of = await entities.of([key]) if entities else {}
    attached = await annotations.about([key])
    text = "\n\n".join(record.text for record in records)
    return RecordShown(
        kind=request.kind,
        id=request.id,
        title=records[0].title,
        text=text[: request.max_characters],
        cut=len(text) > request.max_characters,
        metadata=dict(records[0].metadata),
        entity=of.get(key),
        rows=len(records),
        notes=[one for one in attached if one.kind == "note"],
        tags=sorted(one.text for one in attached if one.kind == "tag"),
    )


async def _records(
    request: RecordRequest, source: RecordSource | None, annotations: Annotations
) -> Sequence[Record]:
    """The records of that kind and id, at least one."""
    if request.kind in KINDS and (added := await annotations.named([request.id])):
        return [_as_record(one) for one in added]
    if source is None:
        raise NotConfigured("nothing says which database to read", hint="spark config show")
    if found := await source.find(request.kind, request.id):
        return found
    raise NotFound(f"there is no {request.kind} {request.id!r}")


def _as_record(one: Annotation) -> Record:
    metadata = {"about_kind": one.about_kind, "about_id": one.about_id}
    metadata |= {"author": one.author, "at": one.at.isoformat()}
    return Record(one.kind, one.id, one.text, one.title, metadata)
