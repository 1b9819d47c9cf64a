"""Whether a model does real work: it is listed, and it says a first token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final, Literal, Protocol

from pydantic_core import from_json, to_json

from ..errors import BackendError, SparkError, TimedOut
from ..gateway.gateway import Gateway
from .catalog import CatalogModel

__all__ = ["Check", "GatewayModels", "Models", "key_of"]

#: How a model shows that it works.
Check = Literal["chat", "completion", "embedding"]

LIST_SECONDS: Final = 3.0
WORK_SECONDS: Final = 60.0

_ASKED: Final[Mapping[Check, tuple[str, Mapping[str, Any]]]] = {
    "chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1, "stream": True},
    ),
    "completion": ("/v1/completions", {"prompt": "One, two,", "max_tokens": 1, "stream": True}),
    "embedding": ("/v1/embeddings", {"input": "One"}),
}


class Models(Protocol):
    """Asks the server behind a model host."""

    async def listed(self, key: str | None = None) -> tuple[str, ...]:
        """The models that it lists to who shows *key*; none where it does not answer."""
        ...

    async def work(self, model: str, check: Check, key: str | None = None) -> None:
        """Let *model* do a little real work.

        :raises SparkError: it did not.
        """
        ...


class GatewayModels:
    """:class:`Models` through the gateway's connections, past its queue."""

    def __init__(self, gateway: Gateway, backend: str) -> None:
        self._upstream = gateway.upstream(backend)

    async def listed(self, key: str | None = None) -> tuple[str, ...]:
        """The models that it lists to who shows *key*; none where it does not answer."""
        try:
            answer = await self._ask("GET", "/v1/models", b"", key, LIST_SECONDS)
            return tuple(str(model["id"]) for model in from_json(answer)["data"])
        except (SparkError, ValueError, LookupError, TypeError):
            return ()

    async def work(self, model: str, check: Check, key: str | None = None) -> None:
        """Let *model* do a little real work: of a stream the first token is enough."""
        path, fields = _ASKED[check]
        received = await self._ask(
            "POST", path, to_json({"model": model, **fields}), key, WORK_SECONDS
        )
        if not _is_work(received, check):
            raise BackendError(f"{model} answered {path} without having done anything")

    async def _ask(
        self, method: str, path: str, body: bytes, key: str | None, seconds: float
    ) -> bytes:
        """What is answered: of a stream what comes until something was said."""
        headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
        if body:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
            ]
        try:
            async with asyncio.timeout(seconds):
                answer = await self._upstream.ask(
                    method.encode(), path.encode(), headers, body, first_byte_s=seconds
                )
                received = b""
                with closing(answer):
                    while not _is_work(received, "chat") and (piece := await answer.read()):
                        received += piece
        except TimeoutError:
            raise TimedOut(f"{path} brought nothing within {seconds:.0f} s") from None
        if answer.status != 200:
            raise BackendError(f"{path} was answered with status {answer.status}")
        return received


def key_of(entry: CatalogModel) -> str | None:
    """What the server of *entry* asks of whoever speaks to it, if the entry says so."""
    key = entry.env.get("VLLM_API_KEY")
    return key.get_secret_value() if key else None


def _says(event: bytes) -> bool:
    """Whether an event of a stream has a token in it."""
    try:
        choices = json.loads(event.strip().removeprefix(b"data:"))["choices"]
    except (ValueError, LookupError, TypeError):
        return False
    for choice in choices:
        delta = choice.get("delta") or {}
        told = (choice.get("text"), *(v for k, v in delta.items() if k != "role"))
        if any(told) or choice.get("finish_reason"):
            return True
    return False


def _is_work(received: bytes, check: Check) -> bool:
    if check != "embedding":
        return any(_says(event) for event in received.split(b"\n\n"))
    try:
        return bool(from_json(received)["data"][0]["embedding"])
    except (ValueError, LookupError, TypeError):
        return False
