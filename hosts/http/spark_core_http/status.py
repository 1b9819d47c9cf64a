"""What the host tells about itself: that it lives, whether it is ready, what it offers."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from collections.abc import Sequence
from typing import Any, Final

from falcon.asgi import Request, Response

from spark_core import Spark
from spark_core.errors import SparkError, Unavailable
from spark_core.gateway.gateway import Gateway
from spark_core.gateway.operations import states
from spark_core.state import Leases

from .problems import PROBLEM_JSON, describe, headers_of

__all__ = ["Status"]

#: How long a readiness check waits for the state database, in seconds.
PATIENCE: Final = 2.0


class Status:
    """Answers the host's own routes. ``routes`` is every route: method, path and summary."""

    def __init__(self, spark: Spark) -> None:
        self._spark = spark
        self._openapi: bytes | None = None
        self.routes: Sequence[tuple[str, str, str]] = ()

    async def index(self, req: Request, resp: Response) -> None:
        """What there is."""
        resp.media = {
            "name": "spark-core",
            "version": importlib.metadata.version("spark-core"),
            "openapi": "/openapi.json",
            "routes": [
                {"method": method, "path": path, "summary": summary}
                for method, path, summary in self.routes
            ],
        }

    async def health(self, req: Request, resp: Response) -> None:
        """That this process answers; nothing else is looked at."""
        resp.media = {"status": "ok"}

    async def ready(self, req: Request, resp: Response) -> None:
        """Whether the state database answers; broken plugins are told as warnings."""
        if (error := await self._missing()) is None:
            resp.media = {"status": "ready"} | self._warnings()
            return
        resp.status = 503
        resp.content_type = PROBLEM_JSON
        resp.set_headers(headers_of(error))
        resp.data = json.dumps(describe(error) | {"status": 503} | self._warnings()).encode()

    async def _missing(self) -> SparkError | None:
        try:
            async with asyncio.timeout(PATIENCE):
                leases = await self._spark.resolver.get(Leases)
                await leases.current("ready")
        except TimeoutError:
            return Unavailable("the state database does not answer")
        except SparkError as error:
            return error
        return None

    def _warnings(self) -> dict[str, Any]:
        broken = [
            f"plugin {p.name} ({p.distribution} {p.version}): {p.error}"
            for p in self._spark.plugins.broken()
        ]
        return {"warnings": broken} if broken else {}

    async def metrics(self, req: Request, resp: Response) -> None:
        """What the gateway counts, over all workers, and what goes on just now."""
        from .metrics import CONTENT_TYPE, text

        gateway = await self._spark.resolver.get(Gateway)
        resp.content_type = CONTENT_TYPE
        resp.data = text(gateway.admission.states(), states(gateway))

    async def openapi(self, req: Request, resp: Response) -> None:
        """The OpenAPI document, made when it is first asked for."""
        if self._openapi is None:
            from .openapi import make_document

            self._openapi = json.dumps(make_document(self._spark.plugins)).encode()
        resp.data = self._openapi
