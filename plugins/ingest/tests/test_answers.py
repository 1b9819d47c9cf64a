"""What an answer carries beside its hits' texts: entities, reasons, its length."""

from __future__ import annotations

import pytest
from spark_core_ingest.budget import SHORTEST, tokens
from spark_core_ingest.search import SearchHit

from spark_core.errors import NotConfigured, NotFound
from spark_core.testing.records import Row
from spark_core.testing.reranking import FakeReranker

pytestmark = pytest.mark.anyio


class Known:
    """Who is who, as a test wants it."""

    def __init__(self, **entities: list[tuple[str, str]]) -> None:
        self.entities = entities
        self.retired: dict[str, str] = {}

    def merge(self, kept: str, gone: str) -> None:
        self.entities[kept] += self.entities.pop(gone)
        self.retired[gone] = kept

    async def of(self, keys):
        known = {key: id for id, members in self.entities.items() for key in members}
        return {key: known[key] for key in keys if key in known}

    async def members(self, entity_id):
        return self.entities[entity_id]

    async def resolve_id(self, entity_id):
        current = self.retired.get(entity_id, entity_id)
        if current not in self.entities:
            raise NotFound(f"there is no entity {entity_id!r}")
        return current


@pytest.fixture(params=["fake", "embedded"])
def any_desk(desk, request):
    if request.param == "embedded":
        desk.store = request.getfixturevalue("embedded_store")
    return desk


@pytest.fixture
async def filled(any_desk):
    """An index in which two entities have records."""
    desk = any_desk
    desk.entities = Known(ada=[("note", "1"), ("mail", "1")], grace=[("mail", "2")])
    await desk.backfill()
    return desk


def entities(response):
    return {(hit.kind, hit.record_id): hit.entity for hit in response.hits}


async def test_hits_carry_their_entity(filled):
    """Those that have one."""
    found = entities(await filled.search("bearings"))
    assert found["note", "1"] == found["mail", "1"] == "ada"
    assert (found["mail", "2"], found["note", "3"]) == ("grace", None)


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
async def test_an_entity_is_a_filter(filled, mode):
    """Alone, one of several, and together with others."""

    async def records(**filter):
        return set(entities(await filled.search("bearings gearbox", mode=mode, filter=filter)))

    assert await records(entity="ada") == {("note", "1"), ("mail", "1")}
    everybody = {("note", "1"), ("mail", "1"), ("mail", "2")}
    assert await records(entity=["ada", "grace"]) == everybody
    assert await records(entity="ada", kind="mail") == {("mail", "1")}
    with pytest.raises(NotFound, match="nobody"):
        await records(entity="nobody")


async def test_an_entity_without_records_finds_nothing(filled):
    """It is no filter that lets everything through."""
    filled.entities.entities["alan"] = []
    assert entities(await filled.search("bearings", filter={"entity": "alan"})) == {}


async def test_a_merge_shows_at_once_and_embeds_nothing(filled):
    """The retired id finds what the kept one does."""
    embedded = filled.embedder.texts_embedded
    filled.entities.merge("ada", "grace")
    response = await filled.search("bearings", mode="sparse", filter={"entity": "grace"})
    assert entities(response) == {("note", "1"): "ada", ("mail", "2"): "ada"}
    assert filled.embedder.texts_embedded == embedded


async def test_without_entities_their_filter_is_refused(desk):
    """It says what to do."""
    await desk.backfill()
    with pytest.raises(NotConfigured, match="resolve"):
        await desk.search("x", filter={"entity": "ada"})


# ---------------------------------------------------------------------------------- reasons


async def test_each_leg_tells_rank_and_score(filled):
    """The scores are those that the leg gives alone."""
    both = {hit.id: hit.explain for hit in (await filled.search("bearings pump")).hits}
    for leg in ("dense", "sparse"):
        for hit in (await filled.search("bearings pump", mode=leg)).hits:
            explain = both[hit.id]
            assert getattr(explain, f"{leg}_score") == pytest.approx(hit.score)
            assert getattr(explain, f"{leg}_rank") == getattr(hit.explain, f"{leg}_rank")


async def test_a_reranker_has_the_last_word(filled):
    """It also sees what would not have been among the hits, and the former score is told."""
    filled.reranker = FakeReranker()
    plain = await filled.search("bearings asks", limit=1)
    response = await filled.search("storm in the harbour", limit=2, rerank=True)
    assert next(hit.record_id for hit in response.hits) == "3"
    scores = [hit.score for hit in response.hits]
    assert scores == sorted(scores, reverse=True)
    assert all(hit.explain.fused_score is not None for hit in response.hits)
    assert plain.hits[0].explain.fused_score is None


async def test_no_reranker_is_said(desk):
    """Only where one is asked for."""
    await desk.backfill()
    with pytest.raises(NotConfigured, match="reranker"):
        await desk.search("x", rerank=True)


# ----------------------------------------------------------------------------------- length


@pytest.mark.parametrize("most", [1, 60, 150, 300, 100_000])
async def test_the_hits_fit_a_budget(desk, most):
    """The best come first, the last may be cut, and the first is always there."""
    desk.rows["note"] = [Row(str(n), f"gear {n} größer " * 60, "T") for n in range(6)]
    await desk.backfill()
    whole = await desk.search("gear", mode="sparse")
    response = await desk.search("gear", mode="sparse", max_tokens=most)
    assert [hit.id for hit in response.hits] == [h.id for h in whole.hits][: len(response.hits)]
    assert response.left_out == len(whole.hits) - len(response.hits)
    assert response.tokens == sum(map(tokens, response.hits))
    assert response.hits
    if len(response.hits) > 1:
        assert response.tokens <= most
    *uncut, last = response.hits
    assert all(hit.text == full.text for hit, full in zip(uncut, whole.hits, strict=False))
    assert len(last.text) >= SHORTEST


def test_a_token_is_four_bytes_of_json():
    """Of all that is sent of a hit."""
    explain = {"dense_rank": None, "sparse_rank": 1}
    fields = {"id": "x", "kind": "k", "record_id": "1", "title": "", "text": "t" * 400}
    hit = SearchHit.model_validate({**fields, "score": 1, "metadata": {}, "explain": explain})
    assert tokens(hit) == -(-len(hit.model_dump_json()) // 4)
