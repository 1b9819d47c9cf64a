"""What every embedder must do, as tests; and an embedder for tests that does it.

An implementer subclasses the suite and says how to make the embedder::

    class TestMyEmbedder(EmbedderConformance):
        @pytest.fixture
        async def embedder(self):
            async with open_my_embedder(...) as embedder:
                yield embedder
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Sequence
from operator import mul

import pytest

from ..contracts.embedding import Embedder, Purpose, Vector
from .suites import AsyncSuite

__all__ = ["EmbedderConformance", "FakeEmbedder", "cosine"]

TEXTS = (
    "The bearing of the north pump was replaced in May.",
    "Ada Example prefers calls in the morning.",
    "An invoice is due within thirty days.",
    "The harbour is closed when the wind is strong.",
)

#: Text as it comes out of real databases.
ODD_TEXTS = (
    "",
    " \t\r\n",
    "\x00\x07 control characters \x7f",
    "\ufeff a byte order mark, a \u200b zero-width space",
    "e\u0301 and \u00e9, \u1e9e, \ufb01ne ligatures",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "שלום مرحبا \u202eleft to right",
    "轴承 ベアリング 베어링",
    "\U0010ffff",
    "half a pair: \ud83d",
)


class EmbedderConformance(AsyncSuite):
    """The contract of :class:`~spark_core.contracts.embedding.Embedder`, rule by rule."""

    @pytest.fixture
    def embedder(self) -> Embedder:
        """Override this one: the embedder under test."""
        raise NotImplementedError("override the fixture `embedder`")

    async def test_is_an_embedder_with_a_name(self, embedder: Embedder) -> None:
        """It has the contract's methods, and its vector space has a name."""
        assert isinstance(embedder, Embedder)
        assert embedder.model

    async def test_one_vector_per_text_in_order(self, embedder: Embedder) -> None:
        """Reversed texts give reversed vectors."""
        vectors = await embedder.embed(TEXTS)
        backwards = await embedder.embed(TEXTS[::-1])
        assert len(vectors) == len(TEXTS)
        assert_same(vectors, backwards[::-1])
        assert_different(vectors)

    async def test_every_vector_has_the_dimension(self, embedder: Embedder) -> None:
        """``dimension()`` is constant, and the length of every vector."""
        before = await embedder.dimension()
        vectors = await embedder.embed([*TEXTS, ""])
        assert before > 0
        assert {len(vector) for vector in vectors} == {before}
        assert await embedder.dimension() == before

    async def test_components_are_finite_floats(self, embedder: Embedder) -> None:
        """A vector is made of Python floats, none of them infinite or NaN."""
        for vector in await embedder.embed(TEXTS):
            assert all(type(component) is float for component in vector)
            assert all(map(math.isfinite, vector))

    async def test_no_texts_give_no_vectors(self, embedder: Embedder) -> None:
        """An empty list is not an error."""
        assert list(await embedder.embed([])) == []

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
    async def test_odd_text_is_embedded(self, embedder: Embedder, text: str) -> None:
        """Empty text, control characters, rare scripts and broken pairs all get a vector."""
        (vector,) = await embedder.embed([text])
        assert len(vector) == await embedder.dimension()
        assert all(map(math.isfinite, vector))

    async def test_long_text_is_cut(self, embedder: Embedder) -> None:
        """A text of a megabyte is embedded as far as the model reads, not refused."""
        (vector,) = await embedder.embed(["bearing and shaft " * 60_000])
        assert len(vector) == await embedder.dimension()

    async def test_alone_or_in_company(self, embedder: Embedder) -> None:
        """A text gets nearly the same vector alone as in a batch with much longer ones."""
        together = await embedder.embed([*TEXTS, "a much longer neighbour " * 100])
        alone = [(await embedder.embed([text]))[0] for text in TEXTS]
        assert_same(together[:-1], alone)

    async def test_many_texts(self, embedder: Embedder) -> None:
        """Any number of texts may be given at once; they keep their order."""
        texts = [f"{TEXTS[n % 4]} Note {n}." for n in range(200)]
        vectors = await embedder.embed(texts)
        assert len(vectors) == len(texts)
        assert_same([vectors[0], vectors[199]], await embedder.embed([texts[0], texts[199]]))

    async def test_concurrent_calls_do_not_mix(self, embedder: Embedder) -> None:
        """Calls that run at the same moment each get their own vectors."""
        one_by_one = await embedder.embed(TEXTS)
        answers = await asyncio.gather(*(embedder.embed([text] * 2) for text in TEXTS))
        assert_same(one_by_one, [first for first, _ in answers])
        assert_same(one_by_one, [second for _, second in answers])

    @pytest.mark.parametrize("purpose", Purpose)
    async def test_each_purpose(self, embedder: Embedder, purpose: Purpose) -> None:
        """Documents and queries are embedded into the same space."""
        vectors = await embedder.embed(TEXTS, purpose=purpose)
        assert {len(vector) for vector in vectors} == {await embedder.dimension()}


def cosine(a: Vector, b: Vector) -> float:
    """How alike two vectors are: 1 the same direction, 0 unrelated."""
    product: float = sum(map(mul, a, b))
    return product / (math.hypot(*a) * math.hypot(*b))


def assert_same(vectors: Sequence[Vector], others: Sequence[Vector]) -> None:
    """Vectors that should be equal are nearly so: arithmetic may depend on the batch."""
    assert min(cosine(a, b) for a, b in zip(vectors, others, strict=True)) > 0.99


def assert_different(vectors: Sequence[Vector]) -> None:
    """Vectors of different texts can be told apart."""
    assert max(cosine(a, b) for n, a in enumerate(vectors) for b in vectors[:n]) < 0.99


class FakeEmbedder:
    """Hashes words into vectors: the same in every process, alike for texts that share words.

    ``calls`` and ``texts_embedded`` count what was asked of it. With a ``gate``, every call
    waits for it first; with a ``failure``, every call raises it. Both may be set at any time.
    """

    def __init__(self, dimension: int = 64, *, model: str = "fake-embedder") -> None:
        self.model = model
        self.calls = 0
        self.texts_embedded = 0
        self.gate: asyncio.Event | None = None
        self.failure: Exception | None = None
        self._dimension = dimension

    async def dimension(self) -> int:
        """The length it was made with."""
        return self._dimension

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose = Purpose.DOCUMENT
    ) -> Sequence[Vector]:
        """A bag of words per text, of length 1; *purpose* makes no difference."""
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.texts_embedded += len(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> Vector:
        counts = [0.0] * self._dimension
        for word in re.findall(r"\w+", text.lower()):
            position, sign = _hashed(word)
            counts[position % self._dimension] += sign
        length = math.hypot(*counts)
        if length == 0.0:  # no words, or words that cancel each other out
            return [1.0, *counts[1:]]
        return [count / length for count in counts]


def _hashed(word: str) -> tuple[int, int]:
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
    number = int.from_bytes(digest)
    return number >> 1, 1 if number & 1 else -1
