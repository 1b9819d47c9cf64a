"""vLLM behind the gateway: chat, completions, responses, embeddings, rerank, tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import from_json, to_json

from spark_core import BackendKind, Env, Relay, SettingsSection, hookimpl
from spark_core.errors import BackendError
from spark_core.gateway.backends import Ask, BackendsSection, Host, Port
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

    host: Annotated[Host, Env("SPARK1_HOST")] = None
    port: Annotated[Port, Env("VLLM_PORT"), BeforeValidator(_port)] = PORT


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


#: The server's own metrics; the gateway's are at ``/metrics``.
METRICS = Relay("vllm-metrics", "GET", "/vllm/metrics", "none", at="/metrics")

KIND = BackendKind(
    "vllm",
    VllmSettings,
    (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, RERANK, SCORE, TOKENIZE, DETOKENIZE, METRICS),
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
