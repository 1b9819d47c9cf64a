"""The audit of what crosses: how much of each kind, a hash of what left, never what it said."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from spark_core.errors import SparkError
from spark_core.state import AuditLog

__all__ = ["Crossing"]


class Crossing:
    """One request on its way out, and what came of it; each end is written once."""

    def __init__(self, audit: AuditLog, client: str, path: str, model: str) -> None:
        self._audit = audit
        self._actor = f"http {client}".strip()
        self._detail: dict[str, Any] = {"path": path, "model": model}
        self._resource = f"model:{model}"
        self._start: int | None = None
        self._ended = False

    async def leaves(self, body: bytes, counts: Mapping[str, int], hosts: str) -> None:
        """*body* is about to be sent to one of *hosts*.

        :raises SparkError: it cannot be written down, so it must not be sent.
        """
        digest = hashlib.sha256(body).hexdigest()
        self._detail |= {
            "sent_sha256": digest, "sent_bytes": len(body), "counts": dict(counts), "hosts": hosts,
        }  # fmt: skip
        self._start = await self._record("started")

    async def stays(self, outcome: str, counts: Mapping[str, int]) -> None:
        """Nothing was sent."""
        self._detail["counts"] = dict(counts)
        await self._record(outcome)

    async def ended(self, outcome: str, **more: Any) -> None:
        """So it *ended*."""
        if not self._ended:
            self._ended = True
            self._detail |= more
            await self._record(outcome)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Within the block something may go wrong, and that is how it ended then."""
        outcome = "failed"
        try:
            yield
        except SparkError as error:
            outcome = error.code
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "client-left"
            raise
        else:
            outcome = ""
        finally:
            if outcome:
                await self.ended(outcome)

    async def _record(self, outcome: str) -> int:
        return await self._audit.record(
            self._actor,
            "redaction.exit",
            resource=self._resource,
            outcome=outcome,
            detail=self._detail,
            start=self._start,
        )
