"""BM25's sparse vectors: made here for both engines, so that both give the same results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from qdrant_edge import Bm25, Bm25Config, DisabledStemmer, StopwordsSet

from spark_core.errors import SettingsError

__all__ = ["SparseVector", "encode_document", "encode_query", "lengths"]

#: Token ids and their weights.
SparseVector = tuple[list[int], list[float]]


def encode_document(text: str, language: str, average_length: float) -> SparseVector:
    """*text* as a document of a collection whose texts are *average_length* tokens long."""
    vector = _encoder(language, average_length).embed_document(text)
    return vector.indices, vector.values


def encode_query(text: str, language: str) -> SparseVector:
    """*text* as a query: a word that is said twice counts twice.

    The engine's own query encoder gives each word weight 1; on wordy queries that costs a
    tenth of the quality (``docs/explanation/quality.md``).
    """
    vector = _counter(language).embed_document(text)
    return vector.indices, [float(round(count)) for count in vector.values]


def lengths(texts: Sequence[str], language: str) -> list[int]:
    """How many tokens each text has, stop words left out.

    Words are not brought to their stems, which is most of the work and changes no count.
    """
    counter = _counter(language, stems=False)
    return [round(sum(counter.embed_document(text).values)) for text in texts]


@lru_cache(maxsize=64)
def _encoder(language: str, average_length: float) -> Bm25:
    return Bm25(_config(language, avg_len=average_length))


@lru_cache(maxsize=8)
def _counter(language: str, stems: bool = True) -> Bm25:
    """Weighs a word by how often it occurs.

    BM25's weight is ``tf (k+1) / (tf + k (1 - b + b len/avg))``: without length
    normalisation (b = 0) and for a huge k, that is tf.
    """
    return Bm25(_config(language, stems, k=1e15, b=0.0))


def _config(language: str, stems: bool = True, **numbers: float) -> Bm25Config:
    options: dict[str, Any] = dict(numbers)
    if language == "neutral" or not stems:
        options["stemmer"] = DisabledStemmer()
    try:
        if language == "neutral":
            plain = StopwordsSet(languages=set(), custom=set())
            return Bm25Config(stopwords=plain, **options)
        config = Bm25Config(language=language, **options)
        Bm25(config)
    except Exception as error:  # the engine has no error types of its own
        raise SettingsError(
            f"[plugins.qdrant] language = {language!r} is not one that BM25 knows",
            hint='an English language name such as "german", or "neutral"',
        ) from error
    return config
