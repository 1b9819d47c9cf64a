"""What people and agents ask about who is who, and what they decide."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from spark_core import Caller, Progress
from spark_core.changes import Change
from spark_core.errors import Conflict, NotFound

from ..annotations.store import Annotation, Annotations
from ..settings import IngestSettings
from .joining import pairs as weighed_pairs
from .matching import load, open_matching
from .profiles import Key, source_of
from .registry import Entities, Entity, Link, ordered
from .resolve import matched, within

#: Entities are read so many at a time.
PAGE = 500


def _checked(name: str) -> str:
    kind, colon, id = name.partition(":")
    if not (kind and colon and id):
        raise ValueError("a record is named kind:id")
    return name


#: A record's name.
RecordName = Annotated[str, AfterValidator(_checked)]


def _key(name: str) -> Key:
    kind, _, id = name.partition(":")
    return kind, id


def _name(key: Key) -> str:
    return ":".join(key)


class RecordKey(BaseModel, defer_build=True):
    """A record of the CRM."""

    kind: str
    id: str


class EntityLine(BaseModel, defer_build=True):
    """A person or a firm, and the records that are of it."""

    entity: str = Field(description="Its canonical id, which it keeps.")
    kind: str = Field(description="The kind of its oldest record.")
    name: str
    members: list[RecordKey] = Field(description="Its records, the oldest first.")
    score: float = Field(
        description="How likely its least likely link is; 1 where there is one record alone."
    )
    reasons: list[str] = Field(description="Why its records are one, link by link.")


class EntitiesRequest(BaseModel, defer_build=True):
    """Which entities to list."""

    name: str | None = Field(
        default=None, description="Only those one of whose records has this in its title."
    )
    merged: bool = Field(default=False, description="Only those of several records.")


async def list_all(request: EntitiesRequest, entities: Entities) -> AsyncIterator[EntityLine]:
    """List who is who: every person and firm with the records that are of it, one a line."""
    last = ""
    while page := await entities.page(last, PAGE, request.name, 2 if request.merged else 1):
        for line in await _lines(entities, page):
            yield line
        last = page[-1].id


async def _lines(entities: Entities, page: Sequence[Entity]) -> list[EntityLine]:
    keys = [key for entity in page if len(entity.members) > 1 for key in entity.members]
    of = {key: entity.id for entity in page for key in entity.members}
    found: dict[str, list[Link]] = {}
    for link in await entities.links(keys):
        if of.get(link.a) == of.get(link.b) is not None:
            found.setdefault(of[link.a], []).append(link)
    confirmed = {(d.a, d.b): d.by for d in await entities.decisions() if d.verdict == "confirm"}
    return [_line(entity, found.get(entity.id, []), confirmed) for entity in page]


def _line(
    entity: Entity, links: Sequence[Link], confirmed: dict[tuple[Key, Key], str]
) -> EntityLine:
    within_it = set(entity.members)
    by_hand = [pair for pair in confirmed if within_it.issuperset(pair)]
    held = [*((1.0, pair, f"confirmed by {confirmed[pair]}") for pair in by_hand)]
    held += [
        (link.score, (link.a, link.b), "; ".join(link.reasons))
        for link in links
        if link.doubt is None
    ]
    spanning = _spanning(held)
    return EntityLine(
        entity=entity.id,
        kind=entity.members[0][0],
        name=entity.name,
        members=[RecordKey(kind=kind, id=id) for kind, id in entity.members],
        score=min((score for score, *_ in spanning), default=1.0),
        reasons=[f"{_name(a)} and {_name(b)}: {why}" for _, (a, b), why in spanning],
    )


def _spanning(
    held: Sequence[tuple[float, tuple[Key, Key], str]],
) -> list[tuple[float, tuple[Key, Key], str]]:
    """The strongest links that hold an entity together, without those it does not need."""
    root: dict[Key, Key] = {}

    def find(key: Key) -> Key:
        while (above := root.get(key, key)) != key:
            key = above
        return key

    needed = []
    for link in held:
        one, other = map(find, link[1])
        if one != other:
            root[one] = other
            needed.append(link)
    return needed


def render_line(line: EntityLine) -> str:
    """An entity for a person."""
    records = ", ".join(f"{key.kind}:{key.id}" for key in line.members)
    told = [f"{line.entity}  {line.name or '-'}  [{records}]"]
    return "\n".join([*told, *(f"    {reason}" for reason in line.reasons)])


class ListRequest(BaseModel, defer_build=True):
    """Which entities to list."""

    name: str | None = Field(default=None, description="What one of its records is called.")
    after: str = Field(default="", description="Go on behind this entity.")
    limit: int = Field(default=50, ge=1, le=500)


class EntityList(BaseModel, defer_build=True):
    """Entities in the order of their ids."""

    entities: list[EntityLine]


async def list_some(request: ListRequest, entities: Entities) -> EntityList:
    """List people and firms by name, each with its records."""
    page = await entities.page(request.after, request.limit, request.name)
    return EntityList(entities=await _lines(entities, page))


class ShowRequest(BaseModel, defer_build=True):
    """Which entity."""

    entity: str = Field(
        min_length=1, description="Its id, also one from before a merge, or a record's kind:id."
    )


class Suggestion(BaseModel, defer_build=True):
    """Two records that may be one: confirm it or refuse it."""

    a: str
    b: str
    score: float
    doubt: str = Field(description="Why it is not certain.")
    reasons: list[str]


class EntityDetails(EntityLine, defer_build=True):
    """A person or a firm, with what may belong to it, too."""

    suggestions: list[Suggestion]
    notes: list[Annotation] = Field(description="What was noted about it here, the newest first.")
    tags: list[str]


async def show(request: ShowRequest, entities: Entities, annotations: Annotations) -> EntityDetails:
    """Show a person or a firm: its records, why they are one, and what may belong to it, too."""
    entity = await _asked(request.entity, entities)
    if not entity.members:
        raise NotFound(f"the records of {entity.id} are no longer in the CRM")
    (line,) = await _lines(entities, [entity])
    links = await entities.links(entity.members)
    open_ones = await _undecided(entity, links, entities)
    added = await annotations.about(entity.members)
    return EntityDetails(
        **line.model_dump(),
        suggestions=[_suggestion(link) for link in open_ones],
        notes=[one for one in added if one.kind == "note"],
        tags=sorted({one.text for one in added if one.kind == "tag"}),
    )


async def _asked(name: str, entities: Entities) -> Entity:
    if ":" not in name:
        return await entities.entity(name)
    found = await entities.of([_key(name)])
    if not found:
        raise NotFound(f"no record {name} is known", hint="spark ingest resolve")
    return await entities.entity(found[_key(name)])


async def _undecided(entity: Entity, links: Sequence[Link], entities: Entities) -> list[Link]:
    decided = {(d.a, d.b) for d in await entities.decisions(entity.members)}
    outward = [link for link in links if not {link.a, link.b} <= set(entity.members)]
    return [link for link in outward if (link.a, link.b) not in decided]


def _suggestion(link: Link) -> Suggestion:
    return Suggestion(
        a=_name(link.a),
        b=_name(link.b),
        score=link.score,
        doubt=link.doubt or "",
        reasons=list(link.reasons),
    )


class Related(BaseModel, defer_build=True):
    """People and firms that have something in common with one, the most alike first."""

    related: list[RelatedEntity]


class RelatedEntity(BaseModel, defer_build=True):
    """A person or a firm, and what it shares with the one that was asked for."""

    entity: str
    name: str
    score: float
    reasons: list[str]


async def related(request: ShowRequest, entities: Entities) -> Related:
    """Tell who has much in common with a person or a firm, and may be the same."""
    entity = await _asked(request.entity, entities)
    mine = set(entity.members)
    found: dict[str, RelatedEntity] = {}
    for link in await entities.links(entity.members):
        others = {link.a, link.b} - mine
        for key, id in (await entities.of(list(others))).items():
            if id not in found:
                name = (await entities.entity(id)).name or _name(key)
                reasons = list(link.reasons)
                found[id] = RelatedEntity(entity=id, name=name, score=link.score, reasons=reasons)
    return Related(related=list(found.values()))


class SuggestionsRequest(BaseModel, defer_build=True):
    """How many to show."""

    limit: int = Field(default=20, ge=1, le=1000)


class Suggestions(BaseModel, defer_build=True):
    """Pairs that wait for a person's decision, the most likely first."""

    suggestions: list[Suggestion]


async def suggestions(request: SuggestionsRequest, entities: Entities) -> Suggestions:
    """List pairs of records that may be one, to be confirmed or refused."""
    found = await entities.suggestions(request.limit)
    return Suggestions(suggestions=[_suggestion(link) for link in found])


# ---------------------------------------------------------------------------------- explaining


class PairRequest(BaseModel, defer_build=True):
    """Two records."""

    a: RecordName = Field(description="A record, as kind:id.")
    b: RecordName = Field(description="Another one.")


class Explanation(BaseModel, defer_build=True):
    """Why two records are, or are not, one."""

    a: str
    b: str
    same: bool = Field(description="Whether they are of one entity.")
    why: str = Field(description="In one sentence.")
    score: float | None = Field(description="How likely they are one by what they say alone.")
    reasons: list[str] = Field(description="What they agree and differ in, the strongest first.")
    doubt: str | None = Field(description="Why that is not certain.")
    by_way_of: list[str] = Field(description="The links that lead from one to the other.")
    decision: str | None = Field(description="What a person decided.")


async def explain(
    request: PairRequest, settings: IngestSettings, entities: Entities, progress: Progress
) -> Explanation:
    """Say why two records are, or are not, one."""
    a, b = ordered(_key(request.a), _key(request.b))
    if a == b:
        raise Conflict(f"{_name(a)} is one record")
    of = await entities.of([a, b])
    for key in (a, b):
        if key not in of:
            raise NotFound(f"no record {_name(key)} is known", hint="spark ingest resolve")
    links = [link for link in await entities.links([a]) if {link.a, link.b} == {a, b}]
    link = links[0] if links else await _weighed(a, b, settings, progress)
    decisions = [d for d in await entities.decisions([a]) if {d.a, d.b} == {a, b}]
    same = of[a] == of[b]
    way = await _way(a, b, of[a], entities) if same else []
    decision = f"{decisions[0].verdict} by {decisions[0].by}" if decisions else None
    return Explanation(
        a=_name(a),
        b=_name(b),
        same=same,
        why=_why(same, link, way, decision),
        score=link.score if link else None,
        reasons=list(link.reasons) if link else [],
        doubt=link.doubt if link else None,
        by_way_of=way if len(way) > 1 else [],
        decision=decision,
    )


def _why(same: bool, link: Link | None, way: Sequence[str], decision: str | None) -> str:
    if decision and same == decision.startswith("confirm"):
        return f"somebody decided it: {decision}"
    if same:
        return (
            "links of other records lead from one to the other"
            if len(way) > 1
            else ("they agree in enough: " + "; ".join(link.reasons if link else []))
        )
    if link is None:
        return "one of them is no longer in the CRM"
    return link.doubt or "what other records of these entities say keeps them apart"


async def _weighed(a: Key, b: Key, settings: IngestSettings, progress: Progress) -> Link | None:
    """What the two say of each other, though no run found that worth keeping."""
    source = source_of(settings)
    total = sum((await source.counts()).values()) if source else 0
    await load()
    with open_matching() as matching:
        await matched(matching, settings, total, progress, pair=(a, b))
        await within(
            matching,
            lambda: matching.connection.execute(
                "CREATE TABLE barrier (l BIGINT, r BIGINT, why TEXT)"
            ),
        )
        rows = await within(matching, lambda: list(weighed_pairs(matching.connection)))
    if not rows:
        return None
    (row,) = rows
    doubt = row["doubt"] or "they were not compared: they share too little, or what too many share"
    return Link(a, b, row["score"], doubt, row["reasons"])


async def _way(a: Key, b: Key, entity: str, entities: Entities) -> list[str]:
    """The shortest way of certain and confirmed links from *a* to *b*."""
    members = await entities.members(entity)
    steps: dict[Key, list[tuple[Key, str]]] = {}
    for link in await entities.links(members):
        if link.doubt is None:
            _step(steps, link.a, link.b, "; ".join(link.reasons))
    for decision in await entities.decisions(members):
        if decision.verdict == "confirm":
            _step(steps, decision.a, decision.b, f"confirmed by {decision.by}")
    came: dict[Key, tuple[Key, str]] = {a: (a, "")}
    waiting = deque([a])
    while waiting and b not in came:
        here = waiting.popleft()
        for there, why in steps.get(here, ()):
            if there not in came:
                came[there] = (here, why)
                waiting.append(there)
    way: list[str] = []
    here = b
    while here != a and here in came:
        before, why = came[here]
        way.insert(0, f"{_name(before)} and {_name(here)}: {why}")
        here = before
    return way


def _step(steps: dict[Key, list[tuple[Key, str]]], a: Key, b: Key, why: str) -> None:
    steps.setdefault(a, []).append((b, why))
    steps.setdefault(b, []).append((a, why))


def render_explanation(explanation: Explanation) -> str:
    """An explanation for a person."""
    one = "are one" if explanation.same else "are not one"
    lines = [f"{explanation.a} and {explanation.b} {one}: {explanation.why}"]
    if explanation.score is not None:
        lines.append(f"by what they say alone: {explanation.score:.1%} likely")
    lines += [f"  {reason}" for reason in explanation.reasons]
    if explanation.doubt:
        lines.append(f"not certain: {explanation.doubt}")
    lines += [f"  {step}" for step in explanation.by_way_of]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------ deciding


class Decided(BaseModel, defer_build=True):
    """What was decided, and what came of it."""

    a: str
    b: str
    verdict: str | None
    entities: dict[str, str] = Field(description="The entity of each of the two now.")


async def confirm(
    request: PairRequest, entities: Entities, change: Change, caller: Caller
) -> Decided:
    """Decide that two records are one. No later run undoes that."""
    return await _decide(request, "confirm", entities, change, caller)


async def refuse(
    request: PairRequest, entities: Entities, change: Change, caller: Caller
) -> Decided:
    """Decide that two records are not one, by no way round either. No later run undoes that."""
    return await _decide(request, "refuse", entities, change, caller)


async def _decide(
    request: PairRequest, verdict: str, entities: Entities, change: Change, caller: Caller
) -> Decided:
    a, b = ordered(_key(request.a), _key(request.b))
    if a == b:
        raise Conflict(f"{_name(a)} is one record")
    before = await entities.decide(a, b, verdict, caller.name)
    if before != verdict:
        change.tell(
            f"link {_name(a)} {_name(b)}",
            before=_fields(a, b, before),
            after=_fields(a, b, verdict),
        )
    of = {_name(key): id for key, id in (await entities.of([a, b])).items()}
    return Decided(a=_name(a), b=_name(b), verdict=verdict, entities=of)


def _fields(a: Key, b: Key, verdict: str | None) -> dict[str, str | None]:
    return {"a": _name(a), "b": _name(b), "verdict": verdict}


async def undo_decision(change: Change, entities: Entities, caller: Caller) -> None:
    """Take back what was decided of a pair.

    :raises Conflict: something else was decided since.
    """
    assert change.before is not None
    assert change.after is not None
    a, b = _key(str(change.before["a"])), _key(str(change.before["b"]))
    now = {(d.a, d.b): d.verdict for d in await entities.decisions([a])}.get((a, b))
    if now != change.after["verdict"]:
        raise Conflict(f"of {_name(a)} and {_name(b)} something else was decided since")
    await entities.decide(a, b, change.before["verdict"], caller.name)
