"""The relays that OpenAI's API names, and those that go with them.

A plugin names the relays that its backends serve. Several plugins may serve the same one:
then the model's name chooses among them.
"""

from __future__ import annotations

from typing import Final

from .backends import Relay

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "DETOKENIZE",
    "DIARIZATIONS",
    "DIARIZATIONS_CHUNK",
    "EMBEDDINGS",
    "RERANK",
    "RESPONSES",
    "SCORE",
    "SPEECH",
    "TOKENIZE",
    "TRANSCRIPTIONS",
    "VOICES",
]

CHAT: Final = Relay("chat", "POST", "/v1/chat/completions")
COMPLETIONS: Final = Relay("completions", "POST", "/v1/completions")
RESPONSES: Final = Relay("responses", "POST", "/v1/responses")
EMBEDDINGS: Final = Relay("embeddings", "POST", "/v1/embeddings")
RERANK: Final = Relay("rerank", "POST", "/v1/rerank", also=("/rerank",))
SCORE: Final = Relay("score", "POST", "/score", also=("/v1/score",))
TOKENIZE: Final = Relay("tokenize", "POST", "/tokenize")
DETOKENIZE: Final = Relay("detokenize", "POST", "/detokenize")
TRANSCRIPTIONS: Final = Relay("transcriptions", "POST", "/v1/audio/transcriptions", "form")
DIARIZATIONS: Final = Relay(
    "diarizations", "POST", "/v1/audio/diarizations", "form", ("/v1/audio/diarization",)
)
DIARIZATIONS_CHUNK: Final = Relay(
    "diarizations-chunk",
    "POST",
    "/v1/audio/diarizations/chunk",
    "form",
    ("/v1/audio/diarize-chunk",),
)
SPEECH: Final = Relay("speech", "POST", "/v1/audio/speech")
VOICES: Final = Relay("voices", "GET", "/v1/audio/voices", "query")
