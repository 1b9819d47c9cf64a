"""``[plugins.vllm]``"""

from __future__ import annotations

import logging
from typing import Annotated, Any

from pydantic import BeforeValidator

from spark_core import Env
from spark_core.gateway.sections import BackendsSection, Host, Port

__all__ = ["VllmSettings"]

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
