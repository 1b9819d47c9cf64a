"""Notes and tags: kept beside the CRM, found at once, in every index, and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from spark_core_ingest.annotations.operations import (
    AddNote,
    Annotating,
    ListNotes,
    RemoveNote,
    TagEntity,
    add_note,
    list_notes,
    remove_note,
    tag_entity,
    undo,
    untag_entity,
)
from spark_core_ingest.annotations.points import AnnotationIndex
from spark_core_ingest.annotations.records import RecordRequest, show_record
from spark_core_ingest.annotations.store import Annotations
from spark_core_ingest.annotations.whose import Whose

from spark_core import Caller, Change, StateSchema
from spark_core.contracts.vectors import CollectionSpec
from spark_core.errors import BackendError, Conflict, NotFound, Unavailable
from spark_core.state import State
from spark_core.testing.records import Row

from .conftest import Desk

pytestmark = pytest.mark.anyio

Key = tuple[str, str]

PUMP, MAIL = ("note", "1"), ("mail", "1")


@dataclass
class FewEntities:
    """Who is who, as a test says."""

    by_id: dict[str, list[Key]]

    async def of(self, keys: Sequence[Key]) -> Mapping[Key, str]:
        return {key: id for id, members in self.by_id.items() for key in members if key in keys}

    async def members(self, entity: str) -> Sequence[Key]:
        if entity not in self.by_id:
            raise NotFound(f"there is no entity {entity!r}")
        return self.by_id[entity]

    async def resolve_id(self, entity: str) -> str:
        return entity


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    schemas = [
        StateSchema("ingest", "spark_core_ingest.migrations"),
        StateSchema("annotations", "spark_core_ingest.annotations.migrations"),
    ]
    async with State.open(tmp_path / "state.db", schemas) as state:
        yield state


@dataclass
class Annotator:
    """A desk whose index has annotations, and somebody who annotates."""

    desk: Desk
    annotations: Annotations
    entities: FewEntities = field(
        default_factory=lambda: FewEntities({"ada": [PUMP, MAIL], "grace": [("mail", "2")]})
    )
    changes: list[Change] = field(default_factory=list)

    @property
    def index(self) -> AnnotationIndex:
        desk = self.desk
        return AnnotationIndex(desk.settings, desk.store, desk.embedder, self.annotations)

    @property
    def annotating(self) -> Annotating:
        entities: Any = self.entities
        return Annotating(self.annotations, self.index, entities, self.desk.source, self.desk.clock)

    def changing(self) -> Change:
        self.changes.append(Change())
        return self.changes[-1]

    async def note(self, text: str, **about: str) -> Any:
        request = AddNote(text=text, **(about or {"entity": "ada"}))
        return await add_note(request, self.annotating, Caller("bob"), self.changing())

    async def remove(self, id: str) -> Any:
        return await remove_note(RemoveNote(id=id), self.annotating, self.changing())

    async def tag(self, entity: str, tag: str) -> list[str]:
        request = TagEntity(entity=entity, tag=tag)
        return (await tag_entity(request, self.annotating, Caller("bob"), self.changing())).tags

    async def untag(self, entity: str, tag: str) -> list[str]:
        request = TagEntity(entity=entity, tag=tag)
        return (await untag_entity(request, self.annotating, self.changing())).tags

    async def undo(self, change: Change | None = None) -> None:
        await undo(change or self.changes[-1], self.annotating)

    async def backfill(self, *, recreate: bool = False) -> None:
        self.desk.annotations = self.index
        await self.desk.backfill(recreate)

    async def titles(self, query: str, **more: Any) -> list[tuple[str, str, str | None]]:
        hits = (await self.desk.search(query, **{"mode": "sparse", **more})).hits
        return [(hit.kind, hit.title, hit.entity) for hit in hits]


@pytest.fixture
async def bob(desk: Desk, state: State) -> Annotator:
    """Somebody who annotates what is indexed."""
    bob = Annotator(desk, Annotations(state))
    desk.entities = Whose(bob.entities, bob.annotations)  # type: ignore[arg-type]
    await bob.backfill()
    return bob


FOUND = [("note", "Pump", "ada")]


# ------------------------------------------------------------------------------------ searching


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
async def test_a_note_is_found_at_once(bob: Annotator, mode: str) -> None:
    """In every mode, under the title of what it is about, with its entity."""
    noted = await bob.note("She collects marzipan")
    assert (noted.entity, noted.problem) == ("ada", None)
    assert (await bob.titles("marzipan", mode=mode))[:1] == FOUND


async def test_notes_are_found_by_their_entity(bob: Annotator) -> None:
    """A filter by entity finds what is about its records; a merge moves it along."""
    await bob.note("Marzipan, please", kind="mail", id="2")
    assert await bob.titles("marzipan", filter={"entity": "ada"}) == []
    bob.entities.by_id = {"ada": [PUMP, MAIL, ("mail", "2")]}
    assert await bob.titles("marzipan", filter={"entity": "ada"}) == [("note", "", "ada")]


async def test_the_next_runs_keep_it_and_embed_nothing(bob: Annotator) -> None:
    """It is no stray, though the books of the index know nothing of it."""
    await bob.note("She collects marzipan")
    before = bob.desk.embedder.texts_embedded
    await bob.backfill()
    assert bob.desk.embedder.texts_embedded == before
    assert await bob.titles("marzipan") == FOUND


async def test_an_index_that_is_built_anew_has_it(bob: Annotator) -> None:
    await bob.note("She collects marzipan")
    await bob.backfill(recreate=True)
    assert await bob.titles("marzipan") == FOUND


async def test_strays_are_removed_all_the_same(bob: Annotator) -> None:
    """Points of records that are left where a run was killed go; annotations stay."""
    await bob.note("She collects marzipan")
    records = await bob.desk.points()
    bob.desk.rows["mail"].append(Row("3", "A stray mail"))
    await bob.backfill()
    await bob.desk.ledger.remove(
        [
            entry
            for key, entry in (
                await bob.desk.ledger.entries(
                    (await bob.desk.store.collection("crm_chunks").describe()).generation,
                    "mail",
                    [("3", 0)],
                )
            ).items()
            if key == ("3", 0)
        ]
    )
    bob.desk.rows["mail"].pop()
    before = bob.desk.embedder.texts_embedded
    await bob.backfill()
    assert bob.desk.embedder.texts_embedded == before
    assert {hit.id for hit in await bob.desk.points()} == {hit.id for hit in records}


async def test_notes_do_not_hide_that_points_are_lost(bob: Annotator) -> None:
    """As many as were lost."""
    await bob.note("She collects marzipan")
    collection = bob.desk.store.collection("crm_chunks")
    await collection.delete(filter={"kind": "mail", "record_id": "1"})
    with pytest.raises(BackendError, match="has lost points"):
        await bob.backfill()


async def test_a_note_written_during_a_rebuild_is_in_the_new_index(bob: Annotator) -> None:
    """Also when the new index has taken in the others already."""
    spec = CollectionSpec(dimension=8, embedder=bob.desk.embedder.model, average_length=5)
    described = await bob.desk.store.collection("crm_chunks").describe()
    await bob.desk.store.create(
        "crm_chunks__building", spec.model_copy(update={"dimension": described.spec.dimension})
    )
    await bob.note("She collects marzipan")
    await bob.desk.store.replace("crm_chunks", by="crm_chunks__building")
    assert await bob.titles("marzipan") == FOUND


async def test_a_crm_may_have_notes_of_its_own(bob: Annotator) -> None:
    """They are of the same kind, and each is shown as what it is."""
    await bob.note("The pump is loud")
    assert {title for _, title, _ in await bob.titles("pump", filter={"kind": "note"})} == {"Pump"}
    assert len(await bob.titles("pump", filter={"kind": "note"})) == 2


# ------------------------------------------------------------------------------- what goes wrong


async def test_without_an_index_it_waits_for_one(desk: Desk, state: State) -> None:
    """It is kept, the answer says so, and the first run indexes it."""
    bob = Annotator(desk, Annotations(state))
    assert "will be found after the next sync" in (await bob.note("marzipan")).problem
    await bob.backfill()
    assert [title for _, title, _ in await bob.titles("marzipan")] == ["Pump"]


async def test_an_embedder_that_is_away_loses_no_note(
    bob: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("the embedder is away")

    with monkeypatch.context() as patch:
        patch.setattr(bob.desk.embedder, "embed", away)
        assert "the embedder is away" in (await bob.note("marzipan")).problem
    await bob.backfill()
    assert await bob.titles("marzipan") == FOUND


async def test_a_run_puts_right_what_was_interrupted(bob: Annotator) -> None:
    """Written and not indexed, or removed and still found: the state counts."""
    gone = (await bob.note("old marzipan")).note
    come = await bob.annotating.made("note", PUMP, "new nougat", "bob")
    await bob.annotations.exchange([gone], [come])
    assert await bob.titles("marzipan") == [("note", "Pump", None)]
    await bob.backfill()
    assert (await bob.titles("marzipan"), await bob.titles("nougat")) == ([], FOUND)


@pytest.mark.parametrize("about", [{"entity": "nobody"}, {"kind": "mail", "id": "99"}])
async def test_what_is_not_there_is_not_annotated(bob: Annotator, about: dict[str, str]) -> None:
    """Nothing is written, and the audit is told of no change."""
    with pytest.raises(NotFound):
        await bob.note("marzipan", **about)
    assert bob.changes[-1] == Change()
    assert (await list_notes(ListNotes(), bob.annotating)).notes == []


@pytest.mark.parametrize(
    "about", [{}, {"kind": "mail"}, {"id": "1"}, {"entity": "ada", "kind": "mail", "id": "1"}]
)
def test_a_note_is_about_one_thing(about: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="either an entity, or a kind and an id"):
        AddNote(text="x", **about)


# ------------------------------------------------------------------------------------------ undo


async def test_an_added_note_is_taken_back(bob: Annotator) -> None:
    """The audit was told all of it, and that there was nothing before."""
    note = (await bob.note("She collects marzipan")).note
    change = bob.changes[-1]
    assert (change.resource, change.before) == (f"note {note.id}", None)
    assert change.after == {"notes": [note.model_dump(mode="json")]}
    await bob.undo()
    assert await bob.titles("marzipan") == []
    with pytest.raises(Conflict, match="not there any more"):
        await bob.undo()


async def test_a_removed_note_comes_back_as_it_was(bob: Annotator) -> None:
    """With its id, its author and its time."""
    note = (await bob.note("She collects marzipan")).note
    await bob.remove(note.id)
    assert await bob.titles("marzipan") == []
    await bob.undo()
    assert (await list_notes(ListNotes(entity="ada"), bob.annotating)).notes == [note]
    assert await bob.titles("marzipan") == FOUND
    with pytest.raises(Conflict, match="there already"):
        await bob.undo()


async def test_of_two_that_remove_a_note_one_is_refused(
    bob: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one looked before it was gone; the audit is told of one removal."""
    note = (await bob.note("She collects marzipan")).note
    await bob.remove(note.id)

    async def before(ids: Sequence[str]) -> list[Any]:
        return [note]

    monkeypatch.setattr(bob.annotations, "named", before)
    with pytest.raises(Conflict):
        await bob.remove(note.id)
    assert bob.changes[-1] == Change()


async def test_an_unknown_note_is_not_removed(bob: Annotator) -> None:
    with pytest.raises(NotFound):
        await bob.remove("nobody")


# ------------------------------------------------------------------------------------------ tags


async def test_a_tag_is_found_at_once(bob: Annotator) -> None:
    """However it is typed; an entity has it once."""
    assert await bob.tag("ada", "  VIP  Ｃustomer") == ["vip customer"]
    assert await bob.tag("ada", "vip customer") == ["vip customer"]
    assert bob.changes[-1] == Change()  # the second time nothing changed
    assert await bob.titles("vip") == [("tag", "Pump", "ada")]


async def test_entities_that_become_one_share_their_tags(bob: Annotator) -> None:
    """And a tag is taken from all of them at once; undone, each has its own again."""
    await bob.tag("ada", "vip")
    await bob.tag("grace", "vip")
    bob.entities.by_id = {"ada": [PUMP, MAIL, ("mail", "2")]}
    assert await bob.tag("ada", "late payer") == ["late payer", "vip"]
    assert await bob.untag("ada", "vip") == ["late payer"]
    assert await bob.titles("vip") == []
    await bob.undo()
    bob.entities.by_id = {"ada": [PUMP, MAIL], "grace": [("mail", "2")]}
    assert await bob.tag("grace", "new") == ["new", "vip"]


async def test_an_undone_tag_is_gone(bob: Annotator) -> None:
    await bob.tag("ada", "vip")
    await bob.undo()
    assert await bob.titles("vip") == []
    assert await bob.untag("ada", "vip") == []
    assert bob.changes[-1] == Change()


# --------------------------------------------------------------------------------------- records


async def shown(bob: Annotator, kind: str, id: str, **more: Any) -> Any:
    request = RecordRequest(kind=kind, id=id, **more)
    return await show_record(request, bob.desk.source, bob.annotations, bob.desk.entities)


async def test_a_record_is_shown_as_the_crm_has_it_now(bob: Annotator) -> None:
    """With what was added to it; not as it was indexed."""
    note = (await bob.note("She collects marzipan")).note
    await bob.tag("ada", "vip")
    bob.desk.rows["note"][0] = Row("1", "quiet again", "Pump 2", {"city": "Brno", "year": 2000})
    record = await shown(bob, *PUMP)
    assert (record.title, record.text, record.entity) == ("Pump 2", "quiet again", "ada")
    assert (record.notes, record.tags) == ([note], ["vip"])


async def test_a_long_text_is_cut_and_rows_of_one_id_are_joined(bob: Annotator) -> None:
    bob.desk.rows["mail"].append(Row("1", "again"))
    record = await shown(bob, *MAIL)
    assert (record.rows, record.text) == (2, "Ada asks about the gearbox\n\nagain")
    assert (await shown(bob, *MAIL, max_characters=3)).text == "Ada"
    assert (await shown(bob, *MAIL, max_characters=3)).cut


async def test_an_annotation_is_a_record_too(bob: Annotator) -> None:
    note = (await bob.note("She collects marzipan")).note
    record = await shown(bob, "note", note.id)
    assert (record.text, record.metadata["author"]) == ("She collects marzipan", "bob")
    assert record.entity == "ada"


async def test_an_unknown_record_is_not_found(bob: Annotator) -> None:
    with pytest.raises(NotFound, match="there is no mail '99'"):
        await shown(bob, "mail", "99")
