"""What people decide of two records holds, whatever later runs find."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_ingest.entities.operations import (
    ListRequest,
    PairRequest,
    ShowRequest,
    confirm,
    explain,
    list_some,
    refuse,
    related,
    undo_decision,
)

from spark_core import Caller
from spark_core.changes import Change
from spark_core.errors import Conflict, NotFound

pytestmark = pytest.mark.anyio

ADA = {"name": "Ada Lovelace", "email": "ada@example.org"}
GRACE = {"name": "Grace Hopper", "email": "grace@example.org"}
A_PERSON = Caller("a person")


def pair(a: int, b: int) -> PairRequest:
    return PairRequest(a=f"person:{a}", b=f"person:{b}")


async def test_what_is_confirmed_is_one_at_once_and_after_every_run(town):
    """Though nothing agrees; it says who confirmed it."""
    town.people(ADA, GRACE)
    await town.resolve()
    older = (await town.ids())["person:1"]
    decided = await confirm(pair(2, 1), town.entities, Change(), A_PERSON)
    assert set(decided.entities.values()) == {older}
    for _ in range(2):
        (line,) = await town.lines()
        assert line.reasons == ["person:1 and person:2: confirmed by a person"]
        await town.resolve()


async def test_what_is_refused_is_two_at_once_and_after_every_run(town):
    """Though everything agrees, and by no way round: a third record joins one of them."""
    town.people(ADA, ADA, ADA)
    await town.resolve()
    await refuse(pair(1, 2), town.entities, Change(), A_PERSON)
    for _ in range(2):
        ids = await town.ids()
        assert ids["person:1"] != ids["person:2"]
        assert ids["person:3"] in (ids["person:1"], ids["person:2"])
        await town.resolve()


async def test_a_decided_pair_is_suggested_no_more(town):
    """Neither refused nor confirmed."""
    town.people({"name": "Jan Novak"}, {"name": "Jan Novak"})
    await town.resolve()
    assert len(await town.suggested()) == 1
    await refuse(pair(1, 2), town.entities, Change(), A_PERSON)
    assert await town.suggested() == {}
    await town.resolve()
    assert await town.suggested() == {}


@pytest.mark.parametrize("verdict", [confirm, refuse])
async def test_a_decision_can_be_undone(town, verdict):
    """As if it had never been."""
    town.people(ADA, GRACE, ADA)
    await town.resolve()
    before = await town.lines()
    change = Change()
    await verdict(pair(1, 2) if verdict is confirm else pair(1, 3), town.entities, change, A_PERSON)
    assert await town.lines() != before
    await undo_decision(change, town.entities, A_PERSON)
    assert await town.lines() == before
    with pytest.raises(Conflict):
        await undo_decision(change, town.entities, A_PERSON)


async def test_a_refusal_is_undone_after_a_run_too(town):
    """Then the two are one again without another run."""
    town.people(ADA, ADA)
    await town.resolve()
    before = await town.lines()
    change = Change()
    await refuse(pair(1, 2), town.entities, change, A_PERSON)
    await town.resolve()
    await undo_decision(change, town.entities, A_PERSON)
    assert await town.lines() == before


async def test_decisions_that_contradict_each_other_are_refused(town):
    """A is B, B is C, so A is C."""
    town.people(ADA, GRACE, {"name": "Barbara Liskov"})
    await town.resolve()
    await confirm(pair(1, 2), town.entities, Change(), A_PERSON)
    await confirm(pair(2, 3), town.entities, Change(), A_PERSON)
    with pytest.raises(Conflict, match="person:1 and person:3"):
        await refuse(pair(1, 3), town.entities, Change(), A_PERSON)
    assert len(await town.lines()) == 1


async def test_a_record_that_is_not_there_cannot_be_decided_about(town):
    """Nor can one and the same."""
    town.people(ADA)
    await town.resolve()
    with pytest.raises(NotFound, match="no record person:7 is known"):
        await confirm(pair(1, 7), town.entities, Change(), A_PERSON)
    with pytest.raises(Conflict):
        await confirm(pair(1, 1), town.entities, Change(), A_PERSON)


async def test_a_pair_is_explained(town):
    """One, by way of another, suggested, or never compared."""
    town.people(
        ADA,
        ADA | {"phone": "+43 664 1234567"},
        {"name": "A. Lovelace", "phone": "0664 1234567"},
        {"name": "Ada Lovelace"},
        GRACE,
    )
    await town.resolve()

    async def explained(a: int, b: int):
        return await explain(pair(a, b), town.settings, town.entities, town.progress)

    direct = await explained(1, 2)
    assert direct.same
    assert direct.reasons[0] == "same e-mail ada@example.org"
    around = await explained(1, 3)
    assert around.same
    assert [step.partition(":")[0] for step in around.by_way_of] == ["person", "person"]
    alone = await explained(1, 4)
    assert not alone.same
    assert alone.why == "a name alone does not tell people of one name apart"
    strangers = await explained(1, 5)
    assert not strangers.same
    assert strangers.score is not None
    assert strangers.score < 0.01
    assert "different e-mail addresses" in strangers.reasons


async def test_who_has_much_in_common_is_told(town):
    """By id or by record."""
    town.people(ADA, ADA, {"name": "Ada Lovelace"})
    await town.resolve()
    ids = await town.ids()
    for asked in ("person:2", ids["person:1"]):
        (other,) = (await related(ShowRequest(entity=asked), town.entities)).related
        assert other.entity == ids["person:3"]


@pytest.mark.parametrize("phase", ["comparing", "joining", "writing entities", "writing links"])
async def test_what_is_decided_during_a_run_holds_after_it(town, phase):
    """Whether the run has read the decisions before or not; also what is taken back."""
    ada, ben = ADA | {"phone": "+43155501"}, {"name": "Ben Example", "email": "ben@example.org"}
    eve = {"name": "Eve Sample", "email": "eve@example.org"}
    town.people(ada, ada, ben, {"name": "Bertram Sample"}, eve, eve)
    await town.resolve()
    await town.entities.decide(("person", "5"), ("person", "6"), "refuse", "Ada")
    town.people(
        ada, ada | {"phone": None}, ben, {"name": "Bertram Sampel"}, eve, eve, {"name": "X"}
    )
    decided, update = asyncio.Event(), town.progress.update
    deciding = []

    async def decide() -> None:
        await town.entities.decide(("person", "1"), ("person", "2"), "refuse", "Ada")
        await town.entities.decide(("person", "3"), ("person", "4"), "confirm", "Ada")
        await town.entities.decide(("person", "5"), ("person", "6"), None, "Ada")
        decided.set()

    def told(name: str, **more: object) -> None:
        update(name, **more)
        if name == phase and not deciding:
            deciding.append(asyncio.ensure_future(decide()))

    town.progress.update = told
    catch_up = town.entities.catch_up

    async def later(before: object) -> None:
        await decided.wait()
        await catch_up(before)

    town.entities.catch_up = later
    await town.resolve()
    assert await town.together() == [["person:3", "person:4"], ["person:5", "person:6"]]
    town.entities.catch_up, town.progress.update = catch_up, update
    await town.resolve()
    assert await town.together() == [["person:3", "person:4"], ["person:5", "person:6"]]


async def test_a_record_is_not_explained_beside_itself(town):
    """It is one, whatever it says."""
    town.people(ADA)
    await town.resolve()
    with pytest.raises(Conflict, match="person:1 is one record"):
        await explain(PairRequest(a="person:1", b="person:1"), town.settings, town.entities, None)


@pytest.mark.parametrize("asked", ["Émile", "émile zo", "ÉMILE", "zola"])
async def test_entities_are_listed_by_name_in_any_script(town, asked):
    """Capitals make no difference, with marks neither."""
    town.people({"name": "Émile Zola"}, {"name": "Jan Žižka"})
    await town.resolve()
    found = await list_some(ListRequest(name=asked), town.entities)
    assert [line.name for line in found.entities] == ["Émile Zola"]
