"""Canonical ids: the same for the same input, and kept while records come, go and merge."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spark_core_ingest.entities.clusters import Facts, cluster
from spark_core_ingest.entities.profiles import natural
from spark_core_ingest.entities.registry import Entities
from spark_core_ingest.entities.settling import Member

from spark_core import StateSchema
from spark_core.errors import LeaseHeld, NotFound
from spark_core.state import State
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

ADA = {"name": "Ada Lovelace", "email": "ada@example.org"}
ADA_AT_WORK = {"name": "Ada Lovelace", "email": "ada@work.example", "phone": "+436641234567"}
ADAS_NUMBER = {"name": "Ada Lovelace", "phone": "+436641234567"}


def crowd(number: int) -> list[dict[str, str]]:
    """People of whom every third is there twice, with a letter wrong."""
    given = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances", "Alan", "Radia"]
    family = ["Lovelace", "Hopper", "Dijkstra", "Liskov", "Knuth", "Allen", "Turing", "Perlman"]
    people = []
    for n in range(number):
        name = f"{given[n % 8]} {family[(n // 8) % 8]}{n}"
        people.append({"name": name, "birth_date": f"19{n % 80 + 10}-0{n % 9 + 1}-1{n % 8}"})
        if n % 3 == 0:
            people.append(people[-1] | {"name": name[:-1]})
    return people


async def test_a_second_run_changes_nothing(town):
    """The same ids, and not a row is written anew."""
    town.people(*crowd(30), ADA, ADA)
    first = await town.resolve()
    ids = await town.ids()
    again = await town.resolve()
    assert await town.ids() == ids
    assert (first.changed, again.changed) == (first.records, 0)
    assert again.model_dump(exclude={"changed", "seconds"}) == first.model_dump(
        exclude={"changed", "seconds"}
    )


@pytest.mark.parametrize("number", [20, 400], ids=["few", "many"])
async def test_the_order_of_the_rows_makes_no_difference(town, tmp_path, spark_clock, number):
    """Two new states, rows in two orders: the same ids, links, scores and words."""
    rows = [{"id": n, **row} for n, row in enumerate(crowd(number), start=1)]
    found = []
    for seed in (1, 2):
        random.Random(seed).shuffle(rows)
        town.table("person", rows)
        schemas = [StateSchema("ingest", "spark_core_ingest.migrations")]
        async with State.open(tmp_path / f"state-{seed}.db", schemas) as state:
            town.entities = Entities(state, spark_clock)
            await town.resolve()
            found.append((await town.lines(), await town.suggested()))
    assert found[0] == found[1]
    assert len([line for line in found[0][0] if len(line.members) == 2]) > number // 5


async def test_the_oldest_of_a_first_run_is_the_smallest_key(town):
    """Numbers by their size: 9 comes before 10."""
    town.table("person", [{"id": 10, **ADA}, {"id": 9, **ADA}])
    await town.resolve()
    assert await town.together() == [["person:9", "person:10"]]
    assert (await town.ids())["person:9"] == (await town.lines())[0].entity


async def test_ids_survive_new_records(town):
    """Also one whose key comes before all others: it is younger."""
    town.table("person", [{"id": 5, **ADA}])
    await town.resolve()
    before = (await town.ids())["person:5"]
    town.table("person", [{"id": 5, **ADA}, {"id": 1, **ADA}])
    await town.resolve()
    assert await town.together() == [["person:5", "person:1"]]
    assert set((await town.ids()).values()) == {before}


async def test_ids_survive_the_record_that_they_were_made_of(town):
    """While another record of the same person is there; and one that returns takes none."""
    town.people(ADA, ADA, ADA)
    await town.resolve()
    before = (await town.ids())["person:1"]
    town.table("person", [{"id": 2, **ADA}, {"id": 3, **ADA}])
    assert (await town.resolve()).gone == 1
    assert set((await town.ids()).values()) == {before}
    town.people({"name": "Grace Hopper"}, ADA, ADA)
    await town.resolve()
    ids = await town.ids()
    assert ids["person:2"] == ids["person:3"] == before != ids["person:1"]


async def test_a_merge_keeps_the_older_id_and_the_other_leads_to_it(town):
    """Whoever noted the retired id finds the person."""
    town.people(ADA, ADA_AT_WORK)
    await town.resolve()
    before = await town.ids()
    assert len(set(before.values())) == 2
    town.people(ADA, ADA_AT_WORK, ADAS_NUMBER | ADA)
    await town.resolve()
    older, newer = before["person:1"], before["person:2"]
    assert set((await town.ids()).values()) == {older}
    assert await town.entities.resolve_id(newer) == older
    assert await town.entities.members(newer) == await town.entities.members(older)


async def test_merges_of_merges_lead_to_the_last(town):
    """In one step."""
    town.people(ADA, {"name": "Grace Hopper"}, {"name": "Barbara Liskov"})
    await town.resolve()
    first, second, third = (await town.ids()).values()
    a, b, c = (("person", str(n)) for n in (1, 2, 3))
    ids = await town.entities.of([a, b, c])
    await town.entities.decide(b, c, "confirm", "a person")
    await town.entities.decide(a, b, "confirm", "a person")
    assert {await town.entities.resolve_id(id) for id in (first, second, third)} == {ids[a]}


async def test_what_comes_apart_leaves_the_id_with_the_oldest(town):
    """The other gets one of its own, also if that had been merged once."""
    town.people(ADA, ADA)
    await town.resolve()
    before = (await town.ids())["person:1"]
    town.people(ADA, {"name": "Grace Hopper", "email": "grace@example.org"})
    await town.resolve()
    ids = await town.ids()
    assert ids["person:1"] == before != ids["person:2"]
    assert await town.entities.resolve_id(ids["person:2"]) == ids["person:2"]


async def test_changes_are_told_in_pages(town):
    """First all records, then those whose entity changed."""
    town.people(ADA, {"name": "Grace Hopper"}, ADA_AT_WORK)
    await town.resolve()
    keys = [("person", "1"), ("person", "2"), ("person", "3")]
    first = await town.entities.changed_after(0, limit=2)
    rest = await town.entities.changed_after(first.cursor, limit=2)
    assert sorted([*first.keys, *rest.keys]) == keys
    assert (await town.entities.changed_after(rest.cursor)).keys == []
    await town.entities.decide(keys[0], keys[2], "confirm", "a person")
    changed = await town.entities.changed_after(rest.cursor)
    assert ("person", "3") in changed.keys
    assert ("person", "2") not in changed.keys


async def test_an_id_that_never_was_is_not_found(town):
    """With what to do about it."""
    with pytest.raises(NotFound, match="there is no entity"):
        await town.entities.members("e0")


async def test_two_runs_at_once_are_one_too_many(town, spark_clock):
    """The second is told who is at it."""
    town.people(ADA)
    held = await town.leases.acquire("ingest:resolve", 10, holder="a resolve by Grace")
    current = town.leases.current

    async def renewed(name):
        spark_clock.advance(1)
        await town.leases.renew(held, 10)
        return await current(name)

    town.leases.current = renewed
    with pytest.raises(LeaseHeld, match="held by a resolve by Grace"):
        await town.resolve()


async def test_a_run_that_was_killed_is_waited_for(town, monkeypatch):
    """Whatever the clock says: its lease would last for days."""
    monkeypatch.setattr("spark_core_ingest.alone.LEASE", 1.0)
    town.people(ADA)
    await town.leases.acquire("ingest:resolve", 1e6, holder="a resolve by Grace")
    assert (await town.resolve()).records == 1
    assert town.progress.phases[0].startswith("waiting for a resolve by Grace")


async def test_the_database_is_left_as_it_was(town, fingerprint):
    """Byte for byte, and nothing lies beside it."""
    town.people(*crowd(30))
    before = fingerprint(town.path)
    await town.resolve()
    assert fingerprint(town.path) == before
    assert not list(town.path.parent.glob("crm.db?*"))


# ------------------------------------------------------------------------------- properties

nodes = st.integers(0, 7)
pairs = st.tuples(nodes, nodes).filter(lambda pair: pair[0] < pair[1])
births = st.sampled_from([(), ("19500101",), ("19810203",), ("18151210",)])


@given(
    st.lists(pairs, unique=True, max_size=12),
    st.lists(births, min_size=8, max_size=8),
    st.lists(pairs, unique=True, max_size=3),
    st.lists(pairs, unique=True, max_size=3),
)
def test_groups_keep_their_rules(links, known, confirmed, refused):
    """Refused pairs are apart; confirmed ones together unless that would join refused ones."""
    facts = {node: Facts(births=birth) for node, birth in enumerate(known)}
    result = cluster(links, facts, confirmed=confirmed, refused=refused)
    groups = result.groups
    for a, b in refused:
        assert groups.get(a) is None or groups.get(a) is not groups.get(b)
    for a, b in confirmed:
        apart = [barrier for barrier in result.barriers if barrier.pair == (a, b)]
        assert groups[a] is groups[b] or apart
        assert refused or not apart
    for barrier in result.barriers:
        assert groups[barrier.pair[0]] is not groups[barrier.pair[1]] or barrier.between
    for node, group in groups.items():
        assert node in group
        assert len(group) == len(set(group))


groupings = st.lists(st.integers(0, 3), min_size=6, max_size=6)


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(groupings, min_size=1, max_size=4), orders=st.permutations(range(6)))
async def test_ids_hold_through_any_history(tmp_path_factory, history, orders):
    """Every record has one entity; an id that once was leads to one that is; order is nothing."""
    ends = []
    for order in (range(6), orders):
        path = tmp_path_factory.mktemp("state") / "state.db"
        async with State.open(path, [StateSchema("i", "spark_core_ingest.migrations")]) as state:
            entities = Entities(state, ManualClock())
            ends.append(await _live_through(entities, history, order))
    assert ends[0] == ends[1]


async def _live_through(entities, history, order):
    keys = [("person", str(n)) for n in range(6)]
    seen = set()
    for grouping in history:
        run = await entities.begin()
        groups = {}
        for n in order:
            groups.setdefault(grouping[n], []).append(Member(keys[n]))
        # Runs give groups in the order of their first records, whatever was read first.
        for group in sorted(groups.values(), key=lambda g: min(m.key for m in g)):
            await entities.settle([group], run)  # each in a transaction of its own
        now = await entities.of(keys)
        assert len(now) == 6
        for one in range(6):
            for other in range(6):
                together = grouping[one] == grouping[other]
                assert (now[keys[one]] == now[keys[other]]) == together
        seen |= set(now.values())
        for id in seen:
            assert await entities.resolve_id(id) in now.values()
    return now, {id: await entities.resolve_id(id) for id in sorted(seen)}


def test_natural_order_puts_numbers_by_size():
    """And before words."""
    keys = [("a", "10"), ("a", "9"), ("a", "x"), ("a", "007"), ("B", "1")]
    assert sorted(keys, key=natural) == [
        ("B", "1"),
        ("a", "9"),
        ("a", "10"),
        ("a", "007"),
        ("a", "x"),
    ]
