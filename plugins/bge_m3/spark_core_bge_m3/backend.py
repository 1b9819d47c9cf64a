"""BGE-M3 behind the gateway: embeddings, and scores of a reranker."""

from __future__ import annotations

from typing import Final

from spark_core import BackendKind
from spark_core.errors import BackendError
from spark_core.gateway.backends import Ask, Backend
from spark_core.gateway.relays import EMBEDDINGS, RERANK

__all__ = ["KIND", "SETTINGS"]

SETTINGS: Final = "spark_core_bge_m3.settings:BgeM3Settings"

EMBEDDER: Final = "BAAI/bge-m3"
RERANKER: Final = "BAAI/bge-reranker-v2-m3"


#: What its vectors have, whoever serves it.
DIMENSION: Final = 1024


async def check(ask: Ask, backend: Backend) -> str:
    """Let it embed a word."""
    from pydantic_core import from_json, to_json

    named = getattr(backend.section, "model", EMBEDDER)
    model = named if named in backend.models else backend.models[0]
    answer = from_json(
        await ask("/v1/embeddings", to_json({"model": model, "input": "pump"})),
        allow_inf_nan=False,
    )
    vector = answer["data"][0]["embedding"]
    if not any(vector):
        raise BackendError("the vector of a word has no direction")
    if model == EMBEDDER and len(vector) != DIMENSION:
        raise BackendError(f"its vectors have {len(vector)} dimensions, not {DIMENSION}")
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
