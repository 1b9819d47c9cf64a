"""CRM ingest: a SQLite database, read through a mapping, into hybrid search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spark_core import (
    Command,
    Effect,
    Job,
    Operation,
    Provider,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)

if TYPE_CHECKING:
    from spark_core.contracts.detection import KnownEntities
    from spark_core.contracts.records import RecordSource


#: Notes and tags.
_ANNOTATIONS = "spark_core_ingest.annotations"

#: Who is who.
_ENTITIES = "spark_core_ingest.entities"

#: Under both of its names; where it is called by its function, the last one counts.
_SYNC = "spark_core_ingest.backfill:sync"
_SYNC_SUMMARY = "Bring the index up to date: embed what has changed, remove what is gone."


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.ingest]``"""
    return (SettingsSection("plugins.ingest", "spark_core_ingest.settings:IngestSettings"),)


@hookimpl
def spark_register_record_sources() -> Iterable[Provider[RecordSource]]:
    """The SQLite database that the mapping describes."""
    return (Provider("sqlite", "spark_core_ingest.sqlite:open_source", embedded=True),)


@hookimpl
def spark_register_known_entities() -> Iterable[Provider[KnownEntities]]:
    """The people and firms of the CRM."""
    return (Provider("crm", f"{_ENTITIES}.known:open_known"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """What has been indexed, and what was added to records."""
    return (
        StateSchema("ingest", "spark_core_ingest.migrations"),
        StateSchema("annotations", f"{_ANNOTATIONS}.migrations"),
    )


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """What has been indexed, by which runs, and all that a run needs."""
    return (
        Resource("spark_core_ingest.ledger:Ledger", "spark_core_ingest.ledger:open_ledger"),
        Resource("spark_core_ingest.runs:Runs", "spark_core_ingest.runs:open_runs"),
        Resource("spark_core_ingest.index:Index", "spark_core_ingest.index:open_index"),
        Resource(f"{_ENTITIES}.registry:Entities", f"{_ENTITIES}.registry:open_entities"),
        Resource(f"{_ANNOTATIONS}.store:Annotations", f"{_ANNOTATIONS}.store:open_annotations"),
        Resource(
            f"{_ANNOTATIONS}.points:AnnotationIndex",
            f"{_ANNOTATIONS}.points:open_annotation_index",
        ),
        Resource(
            f"{_ANNOTATIONS}.operations:Annotating",
            f"{_ANNOTATIONS}.operations:open_annotating",
        ),
        Resource("spark_core_ingest.labels:Entities", f"{_ANNOTATIONS}.whose:open_whose"),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Searching and indexing."""
    return (
        Operation(
            "search",
            "spark_core_ingest.search:search",
            Effect.READ,
            tool=True,
            render="spark_core_ingest.search:render_hits",
            in_use="spark_core_ingest.search:is_in_use",
            summary="Search the firm's memory by meaning, by words, or by both.",
        ),
        Operation(
            "ingest.backfill",
            "spark_core_ingest.backfill:backfill",
            Effect.WRITE,
            summary="Index what is new or has changed in the CRM, and remove what is gone.",
        ),
        Operation(
            "ingest.build",
            "spark_core_ingest.backfill:build",
            Effect.WRITE,
            summary="Find out who is who, then build the index anew beside the old one, and "
            "switch.",
        ),
        *_about_entities(),
        *_annotating(),
        Operation("ingest.refresh", _SYNC, Effect.WRITE, summary=_SYNC_SUMMARY),
        Operation("ingest.sync", _SYNC, Effect.WRITE, summary=_SYNC_SUMMARY),
        Operation(
            "ingest.schedule",
            "spark_core_ingest.schedule:schedule",
            Effect.WRITE,
            render="spark_core_ingest.schedule:render_event",
            summary="Sync now and at every interval, for ever: [plugins.ingest] sync_interval_min.",
        ),
        Operation(
            "ingest.status",
            "spark_core_ingest.status:status",
            Effect.READ,
            method="GET",
            tool="index_status",
            summary="Tell how the index stands: what it holds of each kind, and what the source "
            "has.",
        ),
    )


def _annotating() -> Iterable[Operation]:
    """Showing a record, and adding notes and tags, which can be undone."""
    done, undo = f"{_ANNOTATIONS}.operations", f"{_ANNOTATIONS}.operations:undo"
    return (
        Operation(
            "records.show",
            f"{_ANNOTATIONS}.records:show_record",
            Effect.READ,
            method="GET",
            tool="get_record",
            summary="Show one record, as the CRM has it now, with what was noted about it.",
        ),
        Operation(
            "notes.add",
            f"{done}:add_note",
            Effect.WRITE,
            path="/api/notes",
            tool="add_note",
            undo=undo,
            summary="Note something about an entity or a record; searches find it at once.",
        ),
        Operation(
            "notes.list",
            f"{done}:list_notes",
            Effect.READ,
            method="GET",
            path="/api/notes",
            tool="list_notes",
            summary="List the notes that were added here, the newest first.",
        ),
        Operation(
            "notes.remove",
            f"{done}:remove_note",
            Effect.WRITE,
            method="DELETE",
            path="/api/notes/{id}",
            undo=undo,
            summary="Remove a note that was added here. The audit keeps it.",
        ),
        Operation(
            "entities.tag",
            f"{done}:tag_entity",
            Effect.WRITE,
            method="PUT",
            path="/api/entities/{entity}/tags/{tag}",
            tool="tag_entity",
            undo=undo,
            summary="Give an entity a tag; searches find it at once. One that it has is no change.",
        ),
        Operation(
            "entities.untag",
            f"{done}:untag_entity",
            Effect.WRITE,
            method="DELETE",
            path="/api/entities/{entity}/tags/{tag}",
            undo=undo,
            summary="Take a tag from an entity. One that it has not is no change.",
        ),
    )


def _about_entities() -> Iterable[Operation]:
    """Finding out who is who, asking about it, and deciding."""
    asked, undo = f"{_ENTITIES}.operations", f"{_ENTITIES}.operations:undo_decision"
    return (
        Operation(
            "ingest.resolve",
            f"{_ENTITIES}.resolve:resolve",
            Effect.WRITE,
            summary="Find out which records are of one person or firm, over all kinds with a "
            "`match` table.",
        ),
        Operation(
            "ingest.entities",
            f"{asked}:list_all",
            Effect.READ,
            method="GET",
            render=f"{asked}:render_line",
            summary="List who is who: every person and firm with the records that are of it, "
            "one a line.",
        ),
        Operation(
            "ingest.explain",
            f"{asked}:explain",
            Effect.READ,
            method="GET",
            tool="explain_link",
            render=f"{asked}:render_explanation",
            summary="Say why two records are, or are not, one.",
        ),
        Operation(
            "entities.list",
            f"{asked}:list_some",
            Effect.READ,
            method="GET",
            path="/api/entities",
            tool="list_entities",
            summary="List people and firms by name, each with its records.",
        ),
        Operation(
            "entities.show",
            f"{asked}:show",
            Effect.READ,
            method="GET",
            tool="get_entity",
            summary="Show a person or a firm: its records, why they are one, and what may belong "
            "to it, too.",
        ),
        Operation(
            "entities.related",
            f"{asked}:related",
            Effect.READ,
            method="GET",
            tool="related",
            summary="Tell who has much in common with a person or a firm, and may be the same.",
        ),
        Operation(
            "entities.suggestions",
            f"{asked}:suggestions",
            Effect.READ,
            method="GET",
            tool="list_suggestions",
            summary="List pairs of records that may be one, to be confirmed or refused.",
        ),
        Operation(
            "entities.confirm",
            f"{asked}:confirm",
            Effect.WRITE,
            tool="confirm_link",
            undo=undo,
            summary="Decide that two records are one. No later run undoes that.",
        ),
        Operation(
            "entities.refuse",
            f"{asked}:refuse",
            Effect.WRITE,
            tool="refuse_link",
            undo=undo,
            summary="Decide that two records are not one, by no way round either. No later run "
            "undoes that.",
        ),
    )


@hookimpl
def spark_register_jobs() -> Iterable[Job]:
    """Keeping the index up to date, for a scheduler."""
    return (Job("ingest.sync", "every 60m", "ingest.sync", timeout=1860.0),)


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """The demonstration."""
    summary = "Try everything on real data: your own Python environment"
    return (Command("demo", summary, "spark_core_ingest.demo.command:command"),)
