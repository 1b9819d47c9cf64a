"""vLLM's API: chat, completions, responses, pooling, tokens, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hmac import compare_digest
from typing import ClassVar

from .answers import STAND_IN, Answer, Call, Handler, Refused, Stream, in_json
from .backend import Backend
from .chat import Body, chat, completions, content_of
from .engine import Engine, failure, refuse
from .knobs import Knobs
from .responses import responses
from .text import count, from_tokens, to_tokens
from .vectors import DIMENSION, embeddings, relevance, reranked, signs, texts_of

__all__ = ["Vllm"]

VERSION = "0.32.0"

#: A route that takes JSON.
Asked = Callable[[Engine, Call, Body], Awaitable[Answer | Stream]]


class Vllm(Backend):
    """One server that does what takes several of the real one: it generates and it pools."""

    name: ClassVar[str] = "vllm"
    default_port: ClassVar[int] = 8888
    default_models: ClassVar[tuple[str, ...]] = ("lab/echo",)

    def __init__(self, knobs: Knobs, models: Sequence[str] = ()) -> None:
        super().__init__(knobs, models)
        self.engine = Engine(knobs, self.gpu, self.models)
        self._shown = (0, 0)

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """What answers what."""
        return {
            ("GET", "/health"): self._health,
            ("GET", "/version"): self._version,
            ("GET", "/v1/models"): self._models,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/load"): self._load,
            **{("POST", path): self._taking_json(asked) for path, asked in _ASKED.items()},
            ("POST", "/sleep"): self._sleep,
            ("POST", "/wake_up"): self._wake_up,
            ("GET", "/is_sleeping"): self._is_sleeping,
        }

    def failure(self, status: int, message: str) -> Answer:
        """An error as vLLM words it."""
        return failure(status, message)

    def handler(self, call: Call) -> Handler:
        """What answers *call*; some of it is for those with the key, or for developers."""
        key = self.knobs.api_key
        if key is not None and call.path.startswith(("/v1", "/v2")):
            given = call.headers.get("authorization", "").encode()
            if not compare_digest(given, f"Bearer {key}".encode()):
                raise Refused(in_json({"error": "Unauthorized"}, 401))
        if call.path in ("/sleep", "/wake_up", "/is_sleeping") and not self.knobs.dev_mode:
            raise Refused(in_json({"detail": "Not Found"}, 404))
        return super().handler(call)

    def _taking_json(self, asked: Asked) -> Handler:
        async def handle(call: Call) -> Answer | Stream:
            return await asked(self.engine, call, self.json(call))

        return handle

    def json(self, call: Call) -> Body:
        """The body, refused as vLLM does."""
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise _malformed("Unsupported Media Type: Only 'application/json' is allowed")
        try:
            value = json.loads(call.body)
        except (ValueError, RecursionError):
            raise _malformed("{'type': 'json_invalid', 'msg': 'JSON decode error'}") from None
        if not isinstance(value, dict):
            raise _malformed("{'type': 'model_attributes_type', 'loc': ('body',)}")
        return value

    # ---------------------------------------------------------------------------- the server

    async def _health(self, call: Call) -> Answer:
        return Answer(status=503 if self.knobs.engine_dead else 200)

    async def _version(self, call: Call) -> Answer:
        return in_json({"version": VERSION})

    async def _models(self, call: Call) -> Answer:
        return in_json({"object": "list", "data": [self._card(name) for name in self.models]})

    def _card(self, name: str) -> Body:
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": STAND_IN,
            "root": name,
            "parent": None,
            "max_model_len": self.knobs.max_model_len,
            "permission": [],
        }

    async def _load(self, call: Call) -> Answer:
        return in_json({"server_load": self.gpu.running + self.gpu.waiting})

    # --------------------------------------------------------------------------- the metrics

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep what the metrics show as old as it is at a real one."""
        following = asyncio.create_task(self._follow(), name="lab metrics")
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    async def _follow(self) -> None:
        while True:
            self._shown = (self.gpu.running, self.gpu.waiting)
            await asyncio.sleep(self.knobs.metrics_lag or 1.0)

    async def _metrics(self, call: Call) -> Answer:
        now = (self.gpu.running, self.gpu.waiting)
        running, waiting = self._shown if self.knobs.metrics_lag else now
        totals = self.engine.totals
        text = "".join(
            (
                f"# {STAND_IN}\n",
                self._metric("num_requests_running", running),
                self._metric("num_requests_waiting", waiting),
                self._metric("kv_cache_usage_perc", running / self.knobs.slots),
                self._metric("generation_tokens_total", totals["generated"]),
                self._metric("request_success_total", totals["abort"], ',finished_reason="abort"'),
            )
        )
        return Answer(text.encode(), type="text/plain; version=1.0.0; charset=utf-8")

    def _metric(self, name: str, value: float, labels: str = "") -> str:
        kind = "counter" if name.endswith("_total") else "gauge"
        labels = f'engine="0",model_name="{self.models[0]}"{labels}'
        return f"# TYPE vllm:{name} {kind}\nvllm:{name}{{{labels}}} {float(value)}\n"

    # ----------------------------------------------------------------------------- sleeping

    async def _sleep(self, call: Call) -> Answer:
        self.engine.awake.clear()
        return Answer()

    async def _wake_up(self, call: Call) -> Answer:
        self.engine.awake.set()
        return Answer()

    async def _is_sleeping(self, call: Call) -> Answer:
        return in_json({"is_sleeping": not self.engine.awake.is_set()})


def _malformed(why: str) -> Refused:
    return Refused(failure(400, f"[{why!r}]", type_="Bad Request"))


# -------------------------------------------------------------------------- pooling and tokens


def _texts(body: Body, name: str) -> list[str]:
    try:
        return texts_of(body.get(name))
    except TypeError:
        raise refuse(f"{name}: Input should be text or tokens", name) from None


async def _embeddings(engine: Engine, call: Call, body: Body) -> Answer:
    model = engine.model_of(body)
    body["input"] = _texts(body, "input")
    if body.get("dimensions") not in (None, DIMENSION):
        raise refuse(
            f'Model "{model}" does not support matryoshka representation, changing output '
            "dimensions will lead to poor results.",
            "dimensions",
        )
    await engine.run()
    return embeddings(call, body, engine.identity(call, "embd", "list", model))


async def _pooling(engine: Engine, call: Call, body: Body) -> Answer:
    model = engine.model_of(body)
    texts = _texts(body, "input")
    await engine.run()
    data = [
        {"index": n, "object": "pooling", "data": [byte / 255 for byte in signs(text)]}
        for n, text in enumerate(texts)
    ]
    head = engine.identity(call, "pool", "list", model)
    return in_json({**head, "data": data, "usage": _usage(texts)})


def _usage(texts: Sequence[str]) -> Body:
    tokens = sum(map(count, texts))
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}


async def _score(engine: Engine, call: Call, body: Body) -> Answer:
    model = engine.model_of(body)
    ones, others = _texts(body, "text_1"), _texts(body, "text_2")
    if len(ones) == 1:
        ones = ones * len(others)
    if len(ones) != len(others):
        raise refuse("Input lengths must be either 1:1, 1:N or N:N")
    await engine.run()
    data = [
        {"index": n, "object": "score", "score": relevance(call, *pair)}
        for n, pair in enumerate(zip(ones, others, strict=True))
    ]
    head = engine.identity(call, "score", "list", model)
    return in_json({**head, "data": data, "usage": _usage([*ones, *others])})


async def _rerank(engine: Engine, call: Call, body: Body) -> Answer:
    model = engine.model_of(body)
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list):
        raise refuse("query and documents: Field required")
    await engine.run()
    results = reranked(call, query, documents, body.get("top_n"))
    head = engine.identity(call, "score", "rerank", model)
    usage = {"total_tokens": _usage([query])["total_tokens"]}
    return in_json({"id": head["id"], "model": model, "usage": usage, "results": results})


async def _tokenize(engine: Engine, call: Call, body: Body) -> Answer:
    engine.model_of(body)
    messages = body.get("messages") or [{"content": body.get("prompt", "")}]
    tokens = to_tokens("\n".join(map(content_of, messages)))
    room = engine.knobs.max_model_len
    return in_json(
        {"count": len(tokens), "max_model_len": room, "tokens": tokens, "token_strs": None}
    )


async def _detokenize(engine: Engine, call: Call, body: Body) -> Answer:
    engine.model_of(body)
    tokens = body.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise refuse("tokens: Input should be a valid list", "tokens")
    return in_json({"prompt": from_tokens(tokens)})


_ASKED: Mapping[str, Asked] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/responses": responses,
    "/v1/embeddings": _embeddings,
    "/pooling": _pooling,
    "/score": _score,
    "/v1/score": _score,
    "/rerank": _rerank,
    "/v1/rerank": _rerank,
    "/v2/rerank": _rerank,
    "/tokenize": _tokenize,
    "/detokenize": _detokenize,
}
