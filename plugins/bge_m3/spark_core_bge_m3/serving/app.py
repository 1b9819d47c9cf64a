"""The routes."""

from __future__ import annotations

import asyncio
import base64
import logging
import sys
import traceback
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import falcon
from falcon.asgi import App, Request, Response
from pydantic_core import to_json

from .batching import Models, Row, Worker
from .refusals import Refusal, body_of
from .requests import EmbeddingsRequest, RerankRequest, parsed

__all__ = ["Names", "make_app"]

#: The largest body, in bytes; the gateway's is the same.
MOST_BYTES: Final = 64 * 1024**2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Names:
    """What the models are called."""

    embedder: str
    reranker: str


def make_app(worker: Worker, names: Names) -> App[Request, Response]:
    """The routes, which ask *worker*."""
    app: App[Request, Response] = App()
    app.add_error_handler(Exception, _failed)
    app.add_error_handler(falcon.HTTPError, _not_routed)
    app.add_error_handler(Refusal, _refused)
    app.add_route("/health", Health(worker))
    app.add_route("/v1/models", ModelList(names))
    app.add_route("/v1/embeddings", Embeddings(worker, names.embedder))
    app.add_route("/v1/rerank", Rerank(worker, names.reranker))
    return app


class Health:
    """Whether the models are loaded."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def on_get(self, req: Request, resp: Response) -> None:
        """200, or 503 while they are not."""
        if self._worker.models is None:
            resp.status = HTTPStatus.SERVICE_UNAVAILABLE
            resp.media = {"status": "loading"}
        else:
            resp.media = {"status": "ok", "waiting": self._worker.waiting}


class ModelList:
    """The models, as OpenAI's API lists them."""

    def __init__(self, names: Names) -> None:
        self._names = (names.embedder, names.reranker)

    async def on_get(self, req: Request, resp: Response) -> None:
        """The embedder first."""
        cards = [{"id": name, "object": "model", "owned_by": "spark-embed"} for name in self._names]
        resp.media = {"object": "list", "data": cards}


class Embeddings:
    """Vectors of texts, as OpenAI's API has them."""

    def __init__(self, worker: Worker, name: str) -> None:
        self._worker = worker
        self._name = name

    async def on_post(self, req: Request, resp: Response) -> None:
        """A vector for each text, in order."""
        models = _loaded(self._worker)
        asked = parsed(EmbeddingsRequest, await _body(req))
        _check_model(asked.model, self._name)
        _check_dimensions(asked.dimensions, models.dimension)
        answer = await self._worker.ask(models.embedder, asked.input)
        usage = {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens}
        end = to_json({"model": self._name, "usage": usage})
        # A thousand vectors take a while to write: the loop goes on meanwhile.
        packed = asked.encoding_format == "base64"
        data = await asyncio.to_thread(_written, answer.rows, packed)
        _answer(resp, b'{"object":"list","data":[%b],%b' % (data, end[1:]))


def _written(rows: Iterable[Row], packed: bool) -> bytes:
    write = _packed if packed else to_json
    form = b'{"object":"embedding","index":%d,"embedding":%b}'
    return b",".join([form % (n, write(row)) for n, row in enumerate(rows)])


def _packed(row: Row) -> bytes:
    """As OpenAI's clients ask for it: little-endian floats of 32 bits, in base64."""
    numbers = array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b'"%b"' % base64.b64encode(numbers.tobytes())


class Rerank:
    """How well documents answer a query."""

    def __init__(self, worker: Worker, name: str) -> None:
        self._worker = worker
        self._name = name

    async def on_post(self, req: Request, resp: Response) -> None:
        """The best documents first, each with its place in the request."""
        models = _loaded(self._worker)
        asked = parsed(RerankRequest, await _body(req))
        _check_model(asked.model, self._name)
        pairs = [(asked.query, text) for text in asked.documents]
        answer = await self._worker.ask(models.reranker, pairs)
        scores = [score for (score,) in answer.rows]
        best = sorted(range(len(scores)), key=lambda n: -scores[n])[: asked.top_n]
        results: list[dict[str, Any]] = [{"index": n, "relevance_score": scores[n]} for n in best]
        if asked.return_documents:
            results = [r | {"document": {"text": asked.documents[r["index"]]}} for r in results]
        usage = {"total_tokens": answer.tokens}
        _answer(resp, to_json({"model": self._name, "results": results, "usage": usage}))


# ---------------------------------------------------------------------------- requests


async def _body(req: Request) -> bytes:
    body = await req.stream.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        text = f"the body is larger than {MOST_BYTES} bytes"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, "too_large")
    return body


def _loaded(worker: Worker) -> Models:
    if worker.models is None:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the models are still being loaded",
            "loading",
            retry_after=10,
        )
    return worker.models


def _check_model(asked: str | None, served: str) -> None:
    """A model goes by the last part of its name, as a copy in a folder has no other."""
    if asked is None or asked.rpartition("/")[2] == served.rpartition("/")[2]:
        return
    text = f"another model is asked for than this route serves, which is {served}"
    raise Refusal(HTTPStatus.NOT_FOUND, text, "model_not_found", param="model")


def _check_dimensions(asked: int | None, dimension: int) -> None:
    """The model was not trained for shorter vectors: cutting them would spoil them."""
    if asked in (None, dimension):
        return
    text = f"dimensions: the model's vectors have {dimension}, and cannot be shortened"
    raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, text, "invalid_request", param="dimensions")


# ----------------------------------------------------------------------------- answers


def _answer(resp: Response, body: bytes) -> None:
    resp.data = body
    resp.content_type = falcon.MEDIA_JSON


async def _refused(req: Request, resp: Response, error: Refusal, params: Any) -> None:
    resp.status = error.status
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(error.retry_after))
    _answer(resp, body_of(error.status, error.message, error.code, error.param))


async def _not_routed(req: Request, resp: Response, error: falcon.HTTPError, params: Any) -> None:
    """No such path, or not with this method."""
    resp.status = error.status
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)
    text = f"{req.method} {req.path} is not served: {error.title}"
    _answer(resp, body_of(error.status_code, text, "not_found"))


async def _failed(req: Request, resp: Response, error: Exception, params: Any) -> None:
    """The log has where it failed, and not its message, which may quote a text."""
    name = type(error).__name__
    log.error("%s: %s\n%s", req.path, name, "".join(traceback.format_tb(error.__traceback__)))
    resp.status = HTTPStatus.INTERNAL_SERVER_ERROR
    _answer(resp, body_of(500, f"the server failed ({name})", "internal_error"))
