"""Opens redaction: what is installed looks, and the vault remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .detection.detecting import Detection
from .scrubbing import Redaction
from .vault import Vault

__all__ = ["open_redaction"]


@asynccontextmanager
async def open_redaction(detection: Detection, vault: Vault) -> AsyncIterator[Redaction]:
    """Scrubbing and restoring, with the detectors that are installed."""
    yield Redaction(detection, vault)
