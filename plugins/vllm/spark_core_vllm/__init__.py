"""vLLM behind the gateway: chat, completions, responses, embeddings, rerank, tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import from_json, to_json

from spark_core import BackendKind, Env, SettingsSection, hookimpl
from spark_core.errors import BackendError
from spark_core.gateway.backends import Ask, BackendsSection
from spark_core.gateway.relays import (
    CHAT,
    COMPLETIONS,
    DETOKENIZE,
    EMBEDDINGS,
    RERANK,
    RESPONSES,
    SCORE,
    TOKENIZE,
)

__all__ = ["KIND", "VllmSettings"]

#: Where vLLM listens on a Spark unless it is told otherwise.
PORT = 8888

log = logging.getLogger(__name__)


def _port(value: Any) -> Any:
    """A blank or senseless port is the usual one, and said so: a model should not be missed."""
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = 0
    if 1 <= port <= 65535:
        return port
    log.warning("[plugins.vllm] port: not a port, so %d is used", PORT)
    return PORT


class VllmSettings(BackendsSection):
    """``[plugins.vllm]``: where vLLM is."""

    host: Annotated[str | None, Env("SPARK1_HOST")] = Field(
        default=None, description="The Spark that it runs on, where url does not say."
    )
    port: Annotated[int, Env("VLLM_PORT"), BeforeValidator(_port)] = Field(
        default=PORT, description="Its port on that Spark."
    )

    def address(self) -> str | None:
        """``url``, else the port at ``host``."""
        return self.url or (f"http://{self.host}:{self.port}" if self.host else None)


async def check(ask: Ask) -> str:
    """Let the model say one token."""
    models = from_json(await ask("/v1/models"))["data"]
    if not models:
        raise BackendError("it lists no model")
    model = models[0]["id"]
    request = {
        "model": model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Say yes."}],
    }
    answer = from_json(await ask("/v1/chat/completions", to_json(request)))
    return f"{model} said {answer['usage']['completion_tokens']} token"


KIND = BackendKind(
    "vllm",
    VllmSettings,
    (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, RERANK, SCORE, TOKENIZE, DETOKENIZE),
    lists_models=True,
    check=check,
)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.vllm]``"""
    return (SettingsSection("plugins.vllm", VllmSettings),)


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """vLLM's own API."""
    return (KIND,)
