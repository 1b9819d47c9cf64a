"""vLLM behind the gateway: chat, completions, responses, embeddings, rerank, tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from spark_core import BackendKind, Provider, Relay, SettingsSection, hookimpl
from spark_core.errors import BackendError
from spark_core.gateway.backends import Ask, Backend
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

if TYPE_CHECKING:
    from spark_core.contracts.model_hosts import ModelHost

__all__ = ["KIND"]


async def check(ask: Ask, backend: Backend) -> str:
    """Let the model say one token."""
    models = json.loads(await ask("/v1/models"))["data"]
    if not models:
        raise BackendError("it lists no model")
    model = models[0]["id"]
    request = {
        "model": model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Say yes."}],
    }
    answer = json.loads(await ask("/v1/chat/completions", json.dumps(request).encode()))
    return f"{model} said {answer['usage']['completion_tokens']} token"


#: The server's own metrics; the gateway's are at ``/metrics``.
METRICS = Relay("vllm-metrics", "GET", "/vllm/metrics", "none", at="/metrics")

SETTINGS = "spark_core_vllm.settings:VllmSettings"

KIND = BackendKind(
    "vllm",
    SETTINGS,
    (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, RERANK, SCORE, TOKENIZE, DETOKENIZE, METRICS),
    lists_models=True,
    check=check,
)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.vllm]``"""
    return (SettingsSection("plugins.vllm", SETTINGS),)


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """vLLM's own API."""
    return (KIND,)


@hookimpl
def spark_register_model_hosts() -> Iterable[Provider[ModelHost]]:
    """Models in containers, on machines that are reached over SSH."""
    opened = "spark_core_vllm.model_host:open_model_host"
    return (Provider("vllm", opened, configured="spark_core_vllm.settings:is_configured"),)
