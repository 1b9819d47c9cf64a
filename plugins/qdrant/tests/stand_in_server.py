"""A stand-in for a Qdrant server, for tests alone: no Qdrant server runs here.

The routes that the client uses, over real HTTP, answered by the client library's own local
mode, which is written in Python. What only a real server would show (its speed, its limits,
its storage) is not seen with it.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import AsyncQdrantClient
from qdrant_client.http import models
from qdrant_client.http.models import models as all_models

__all__ = ["Answer", "Refused", "StandIn", "serve_stand_in"]

#: Status and body.
Answer = tuple[int, Any]

#: Is shown each request (method, path) before it is answered; what it returns is answered
#: instead, and where it raises ConnectionError the connection is cut.
Interceptor = Callable[[str, str], Answer | None]

#: The largest body, as in a real server's default settings.
MAX_BODY = 32 * 2**20

_SELECTOR: TypeAdapter[models.PointsSelector] = TypeAdapter(all_models.PointsSelector)


class Refused(Exception):
    """The request gets an error's status and the body that a real server gives it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer: Answer = (status, {"status": {"error": message}, "time": 0.0})


class StandIn:
    """Collections in memory, behind the REST routes."""

    def __init__(self, api_key: str | None = None) -> None:
        self.local = AsyncQdrantClient(":memory:")
        self.url = ""
        self.intercept: Interceptor = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self._api_key = api_key

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, for as long as it is kept."""
        try:
            while await self._exchange(reader, writer):
                pass
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (one.partition(":") for one in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = target.partition("?")[0]
        self.requests.append((method, path))
        status, answer = self.intercept(method, path) or await self._answer(
            method, path, headers, body
        )
        if not isinstance(answer, bytes):
            answer = json.dumps(answer, allow_nan=False).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(answer), answer)
        )
        await writer.drain()
        return headers.get("connection") != "close"

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            if self._api_key not in (None, headers.get("api-key")):
                raise Refused(401, "Must provide an API key")
            if len(body) > MAX_BODY:
                raise Refused(413, "Payload too large")
            route, name = self._route(method, path)
            result = await route(name, json.loads(body, parse_constant=_no_number) if body else {})
            return 200, {"result": _plain(result), "status": "ok", "time": 0.0}
        except Refused as error:
            return error.answer
        except (ValidationError, json.JSONDecodeError) as error:
            return Refused(400, f"Format error in JSON body: {type(error).__name__}").answer
        except ValueError as error:  # as the local mode refuses things
            return Refused(404 if "not found" in str(error) else 400, str(error)).answer

    def _route(
        self, method: str, path: str
    ) -> tuple[Callable[[str, Any], Coroutine[Any, Any, Any]], str]:
        for (verb, pattern), route in ROUTES.items():
            if verb == method and (found := re.fullmatch(pattern, path)):
                name = found.groupdict().get("name", "")
                return partial(route, self), name
        raise Refused(404, "there is no such route")

    async def root(self, name: str, body: Any) -> Any:
        """``GET /``: no envelope on a real server, but none is looked at either."""
        return {"title": "stand-in for tests", "version": "0.0.0"}

    async def collections(self, name: str, body: Any) -> Any:
        """``GET /collections``"""
        return await self.local.get_collections()

    async def aliases(self, name: str, body: Any) -> Any:
        """``GET /aliases``"""
        return await self.local.get_aliases()

    async def change_aliases(self, name: str, body: Any) -> Any:
        """``POST /collections/aliases``"""
        actions = models.ChangeAliasesOperation.model_validate(body).actions
        return await self.local.update_collection_aliases(actions)

    async def exists(self, name: str, body: Any) -> Any:
        """``GET /collections/{name}/exists``"""
        return {"exists": await self.local.collection_exists(name)}

    async def info(self, name: str, body: Any) -> Any:
        """``GET /collections/{name}``"""
        return await self.local.get_collection(name)

    async def create(self, name: str, body: Any) -> Any:
        """``PUT /collections/{name}``"""
        wanted = models.CreateCollection.model_validate(body)
        if await self.local.collection_exists(name):
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        return await self.local.create_collection(
            name,
            vectors_config=wanted.vectors,
            sparse_vectors_config=wanted.sparse_vectors,
            metadata=wanted.metadata,
        )

    async def delete_collection(self, name: str, body: Any) -> Any:
        """``DELETE /collections/{name}``"""
        return await self.local.delete_collection(name)

    async def index(self, name: str, body: Any) -> Any:
        """``PUT /collections/{name}/index``: the local mode has none and needs none."""
        models.CreateFieldIndex.model_validate(body)
        await self.local.get_collection(name)
        return {"operation_id": 0, "status": "completed"}

    async def upsert(self, name: str, body: Any) -> Any:
        """``PUT /collections/{name}/points``"""
        points = models.PointsList.model_validate(body).points
        await self._check_vectors(name, points)
        return await self.local.upsert(name, points)

    async def _check_vectors(self, name: str, points: list[models.PointStruct]) -> None:
        """The local mode would store the good points of a bad batch."""
        vectors: Any = (await self.local.get_collection(name)).config.params.vectors
        for point in points:
            given: Any = point.vector
            for using, params in vectors.items():
                if len(given[using]) != params.size:
                    raise Refused(400, f"Wrong input: Vector dimension error: {params.size}")

    async def retrieve(self, name: str, body: Any) -> Any:
        """``POST /collections/{name}/points``"""
        wanted = models.PointRequest.model_validate(body)
        return await self.local.retrieve(name, wanted.ids, wanted.with_payload or False)

    async def query(self, name: str, body: Any) -> Any:
        """``POST /collections/{name}/points/query/batch``"""
        searches = models.QueryRequestBatch.model_validate(body).searches
        return await self.local.query_batch_points(name, searches)

    async def scroll(self, name: str, body: Any) -> Any:
        """``POST /collections/{name}/points/scroll``"""
        wanted = models.ScrollRequest.model_validate(body)
        points, following = await self.local.scroll(
            name, wanted.filter, limit=wanted.limit or 10, offset=wanted.offset
        )
        return {"points": _plain(points), "next_page_offset": following}

    async def count(self, name: str, body: Any) -> Any:
        """``POST /collections/{name}/points/count``"""
        wanted = models.CountRequest.model_validate(body)
        return await self.local.count(name, wanted.filter)

    async def delete(self, name: str, body: Any) -> Any:
        """``POST /collections/{name}/points/delete``"""
        return await self.local.delete(name, _SELECTOR.validate_python(body))


_C = r"/collections/(?P<name>[^/]+)"

ROUTES: dict[tuple[str, str], Callable[[StandIn, str, Any], Coroutine[Any, Any, Any]]] = {
    ("GET", "/"): StandIn.root,
    ("GET", "/readyz"): StandIn.root,
    ("GET", "/aliases"): StandIn.aliases,
    ("GET", "/collections"): StandIn.collections,
    ("POST", "/collections/aliases"): StandIn.change_aliases,
    ("GET", _C): StandIn.info,
    ("PUT", _C): StandIn.create,
    ("DELETE", _C): StandIn.delete_collection,
    ("GET", _C + "/exists"): StandIn.exists,
    ("PUT", _C + "/index"): StandIn.index,
    ("PUT", _C + "/points"): StandIn.upsert,
    ("POST", _C + "/points"): StandIn.retrieve,
    ("POST", _C + "/points/query/batch"): StandIn.query,
    ("POST", _C + "/points/scroll"): StandIn.scroll,
    ("POST", _C + "/points/count"): StandIn.count,
    ("POST", _C + "/points/delete"): StandIn.delete,
}


def _plain(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json")
    return [_plain(one) for one in result] if isinstance(result, list) else result


def _no_number(constant: str) -> Any:
    raise Refused(400, f"Format error in JSON body: {constant}")


@contextmanager
def serve_stand_in(stand_in: StandIn, port: int = 0) -> Iterator[StandIn]:
    """Serve on loopback, in a thread with an event loop of its own, until the end."""
    started: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(stand_in, port, started)))
    thread.start()
    stop = started.result()
    try:
        yield stand_in
    finally:
        stop()
        thread.join()


async def _serve(stand_in: StandIn, port: int, started: Future[Callable[[], object]]) -> None:
    """Serve until told to stop; open connections are cut then, as by a server that dies."""
    stopped = asyncio.Event()
    try:
        server = await asyncio.start_server(stand_in.talk, "127.0.0.1", port, limit=2**20)
    except BaseException as error:
        started.set_exception(error)
        raise
    stand_in.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set))
    await stopped.wait()
    server.close()
