"""Vectors without a model: texts that share words are near each other.

A vector has 1,024 numbers, all of them 1/32 or -1/32, so that it is of length one and quick to
write. Its bits come eight at a time from one of the text's words, a different one for every
eight: of two texts that have half of their words in common about half of the bits agree.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from array import array
from functools import lru_cache
from hashlib import shake_128
from typing import Any, Final

from .answers import Answer, Call
from .text import count, from_tokens

__all__ = ["DIMENSION", "embeddings", "relevance", "reranked", "signs", "texts_of"]

DIMENSION: Final = 1024
EIGHTS: Final = DIMENSION // 8
MODEL_READS: Final = 20_000  #: characters of a text

_NUMBERS: Final = [
    [0.03125 if byte >> bit & 1 else -0.03125 for bit in range(8)] for byte in range(256)
]
_WRITTEN: Final = [",".join(map(repr, numbers)) for numbers in _NUMBERS]
_PACKED: Final = [struct.pack("<8f", *numbers) for numbers in _NUMBERS]


def words(text: str) -> list[str]:
    """The words of *text* that its vector is made of."""
    return re.findall(r"\w+", text[:MODEL_READS].lower()) or [text]


@lru_cache(maxsize=65536)
def _digest(word: str) -> array[int]:
    return array("H", shake_128(word.encode("utf-8", "replace")).digest(2 * EIGHTS))


@lru_cache(maxsize=4096)
def signs(text: str) -> bytes:
    """The signs of the vector of *text*, a bit for each number."""
    digests = [_digest(word) for word in set(words(text))]
    return bytes(number & 255 for number in map(max, digests[0], *digests))


def _number(call: Call, text: str) -> bytes:
    """The signs, fewer if the dimension is to be wrong."""
    found = signs(text)
    return found[:-1] if call.fails("wrong_dimension") else found


def _listed(call: Call, text: str) -> str:
    written = ",".join([_WRITTEN[byte] for byte in _number(call, text)])
    return f"[{'NaN' + written[written.index(',') :] if call.fails('nan') else written}]"


def _encoded(call: Call, text: str) -> str:
    packed = b"".join([_PACKED[byte] for byte in _number(call, text)])
    if call.fails("nan"):
        packed = struct.pack("<f", float("nan")) + packed[4:]
    return f'"{base64.b64encode(packed).decode()}"'


def embeddings(call: Call, body: dict[str, Any], identity: dict[str, Any]) -> Answer:
    """An answer as OpenAI has it; *identity* is what else it says of itself."""
    write = _encoded if body.get("encoding_format") == "base64" else _listed
    texts = texts_of(body["input"])
    items = (
        f'{{"object":"embedding","index":{n},"embedding":{write(call, text)}}}'
        for n, text in enumerate(texts)
    )
    tokens = sum(map(count, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    head = json.dumps({"object": "list", **identity})
    return Answer(f'{head[:-1]},"data":[{",".join(items)}],"usage":{json.dumps(usage)}}}'.encode())


def texts_of(given: Any) -> list[str]:
    """The texts that are meant by an ``input``: one or several, as text or as tokens.

    :raises TypeError: it is none of these.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and all(isinstance(item, int) for item in given):
        return [from_tokens(given)]
    if isinstance(given, list) and all(isinstance(item, str | list) for item in given):
        return [item if isinstance(item, str) else from_tokens(item) for item in given]
    raise TypeError("the input is neither text nor tokens")


def relevance(call: Call, query: str, text: str) -> float:
    """How well *text* answers *query*: the share of its words that are there, from 0 to 1."""
    if call.fails("nan"):
        return float("nan")
    asked = set(words(query))
    return len(asked & set(words(text))) / len(asked)


def reranked(call: Call, query: str, documents: list[Any], top: int | None) -> list[dict[str, Any]]:
    """The results of a rerank, the best first."""
    texts = [item if isinstance(item, str) else str(item.get("text", "")) for item in documents]
    scores = [relevance(call, query, text) for text in texts]
    best = sorted(range(len(texts)), key=lambda n: -scores[n])
    return [
        {"index": n, "document": {"text": texts[n]}, "relevance_score": scores[n]}
        for n in best[: top or None]
    ]
