"""The relay that one would write first: Falcon and httpx, with none of what a gateway does.

``gateway.py`` runs it under gunicorn to compare.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi
import httpx

HOP = frozenset(("connection", "transfer-encoding", "host", "date", "server", "keep-alive"))


class Relay:
    """Sends every request on, and its answer back."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx.AsyncClient(
            base_url=os.environ["BACKEND"], timeout=60, limits=limits, trust_env=False
        )

    async def __call__(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        headers = {name: value for name, value in req.headers_lower.items() if name not in HOP}
        body: Any = req.stream if (req.content_length or 0) > 65536 else await req.stream.read()
        request = self._client.build_request(
            req.method, req.relative_uri, headers=headers, content=body
        )
        answer = await self._client.send(request, stream=True)
        resp.status = answer.status_code
        for name, value in answer.headers.multi_items():
            if name not in HOP:
                resp.append_header(name, value)
        if int(answer.headers.get("content-length", 1 << 20)) <= 65536:
            resp.data = await answer.aread()
        else:
            resp.stream = Stream(answer)


class Stream:
    """The body of an answer; Falcon closes it."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.aiter_raw()

    async def close(self) -> None:
        await self._answer.aclose()


app = falcon.asgi.App()
app.add_sink(Relay(), "/")
