"""What every reranker must do, as tests; and a reranker for tests that does it."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence

import pytest

from ..contracts.reranking import Reranker
from .embedding import ODD_TEXTS
from .suites import AsyncSuite

__all__ = ["FakeReranker", "RerankerConformance"]

QUERY = "When was the bearing of the pump replaced?"
TEXTS = (
    "Ada Example prefers calls in the morning.",
    "The bearing of the north pump was replaced in May.",
    "An invoice is due within thirty days.",
)
ANSWER = 1


class RerankerConformance(AsyncSuite):
    """The contract of :class:`~spark_core.contracts.reranking.Reranker`, rule by rule.

    Subclass it and override the fixture ``reranker``.
    """

    @pytest.fixture
    def reranker(self) -> Reranker:
        """Override this one: the reranker under test."""
        raise NotImplementedError("override the fixture `reranker`")

    async def test_is_a_reranker_with_a_name(self, reranker: Reranker) -> None:
        """It has the contract's methods, and a model's name to show."""
        assert isinstance(reranker, Reranker)
        assert reranker.model

    async def test_one_finite_score_per_text(self, reranker: Reranker) -> None:
        """Scores are Python floats, none of them infinite or NaN, one for each text."""
        scores = await reranker.rerank(QUERY, TEXTS)
        assert len(scores) == len(TEXTS)
        assert all(type(score) is float and math.isfinite(score) for score in scores)

    async def test_higher_is_better(self, reranker: Reranker) -> None:
        """The one text that answers the query has the highest score."""
        scores = await reranker.rerank(QUERY, TEXTS)
        assert max(range(len(TEXTS)), key=scores.__getitem__) == ANSWER

    async def test_scores_keep_the_order_of_the_texts(self, reranker: Reranker) -> None:
        """A text's score does not depend on where it stands."""
        scores = await reranker.rerank(QUERY, TEXTS)
        backwards = await reranker.rerank(QUERY, TEXTS[::-1])
        assert list(backwards[::-1]) == pytest.approx(list(scores), rel=0.01, abs=0.01)

    async def test_no_texts_give_no_scores(self, reranker: Reranker) -> None:
        """An empty list is not an error."""
        assert list(await reranker.rerank(QUERY, [])) == []

    async def test_odd_text_is_scored(self, reranker: Reranker) -> None:
        """Empty text, control characters, rare scripts and broken pairs all get a score."""
        for query in (QUERY, ODD_TEXTS[-1]):
            scores = await reranker.rerank(query, ODD_TEXTS)
            assert len(scores) == len(ODD_TEXTS)

    async def test_long_text_is_scored(self, reranker: Reranker) -> None:
        """A text of a megabyte is read as far as the model goes, not refused."""
        assert len(await reranker.rerank(QUERY, ["bearing and shaft " * 60_000])) == 1

    async def test_many_texts(self, reranker: Reranker) -> None:
        """Any number of texts may be given at once."""
        texts = [f"{TEXTS[n % 3]} Note {n}." for n in range(200)]
        scores = await reranker.rerank(QUERY, texts)
        assert len(scores) == len(texts)
        assert min(scores[ANSWER::3]) > max(scores[0::3])

    async def test_concurrent_calls_do_not_mix(self, reranker: Reranker) -> None:
        """Calls that run at the same moment each get their own scores."""
        expected = await reranker.rerank(QUERY, TEXTS)
        answers = await asyncio.gather(*(reranker.rerank(QUERY, [text]) for text in TEXTS))
        alone = [score for (score,) in answers]
        assert alone == pytest.approx(list(expected), rel=0.01, abs=0.01)


class FakeReranker:
    """Scores a text by the share of the query's words that it holds.

    ``calls`` and ``texts_scored`` count what was asked of it. With a ``failure``, every call
    raises it.
    """

    def __init__(self, *, model: str = "fake-reranker") -> None:
        self.model = model
        self.calls = 0
        self.texts_scored = 0
        self.failure: Exception | None = None

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """A number from 0 to 1 for each text."""
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        self.texts_scored += len(texts)
        wanted = _words(query)
        return [len(wanted & _words(text)) / max(len(wanted), 1) for text in texts]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
