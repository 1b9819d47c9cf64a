"""Gateways to backends that are only described, and to stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from spark_core.gateway.admission import Pool, open_admission
from spark_core.gateway.backends import Backend, BackendKind, Relay
from spark_core.gateway.gateway import Gateway
from spark_core.gateway.relays import CHAT, EMBEDDINGS
from spark_core.gateway.sections import BackendsSection

OpenGateway = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def backend(
    name: str = "one",
    url: str = "http://127.0.0.1:9",
    *,
    models: tuple[str, ...] = (),
    aliases: dict[str, str] | None = None,
    relays: tuple[Relay, ...] = (CHAT, EMBEDDINGS),
    limit: int = 4,
    **kind: Any,
) -> Backend:
    """A backend of a kind of its own."""
    found = BackendKind(f"kind-{name}", BackendsSection, relays, **kind)
    return Backend(name, found, url, models, aliases or {}, limit, BackendsSection())


@pytest.fixture
def open_gateway(tmp_path: Path) -> OpenGateway:
    """Opens a gateway to *backends*; several share what they see."""

    @asynccontextmanager
    async def opener(*backends: Backend) -> Any:
        pools = [Pool(b.name, b.limit) for b in backends]
        async with open_admission(tmp_path / "gateway", pools) as admission:
            gateway = Gateway(backends, admission)
            try:
                yield gateway
            finally:
                await gateway.aclose()

    return opener
