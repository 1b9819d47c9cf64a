"""BGE-M3 behind the gateway: embeddings, and scores of a reranker."""

from __future__ import annotations

from typing import Final

from spark_core import BackendKind
from spark_core.errors import BackendError
from spark_core.gateway.backends import Ask
from spark_core.gateway.relays import EMBEDDINGS, RERANK

__all__ = ["KIND", "SETTINGS"]

SETTINGS: Final = "spark_core_bge_m3.settings:BgeM3Settings"

EMBEDDER: Final = "BAAI/bge-m3"
RERANKER: Final = "BAAI/bge-reranker-v2-m3"


async def check(ask: Ask) -> str:
    """Let it embed a word."""
    from pydantic_core import from_json, to_json

    answer = from_json(
        await ask("/v1/embeddings", to_json({"model": EMBEDDER, "input": "pump"})),
        allow_inf_nan=False,
    )
    vector = answer["data"][0]["embedding"]
    if not any(vector):
        raise BackendError("the vector of a word has no direction")
    return f"its vectors have {len(vector)} dimensions"


KIND = BackendKind(
    "bge_m3",
    SETTINGS,
    (EMBEDDINGS, RERANK),
    models=(EMBEDDER, RERANKER),
    # Programs for OpenAI's API insist on its names. Its vectors have other dimensions, so that
    # nobody comes to mix them with these unnoticed.
    aliases={
        "bge-m3": EMBEDDER,
        "bge-reranker-v2-m3": RERANKER,
        "text-embedding-3-small": EMBEDDER,
        "text-embedding-ada-002": EMBEDDER,
    },
    check=check,
)
