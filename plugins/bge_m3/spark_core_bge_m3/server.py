"""The server as both see it: batches in, checked answers out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from spark_core.errors import BackendError, NotConfigured
from spark_core.http_client import Retries, open_client, request_with_retries, shown

from .settings import BgeM3Settings

__all__ = ["Server", "in_order", "readable"]

A = TypeVar("A", bound=BaseModel)
R = TypeVar("R")

#: Characters of a text that are sent: more than 8,192 tokens, which is what the models read.
LONGEST = 131_072


class Server:
    """One HTTP server and how it is asked. Open it with :meth:`open`."""

    def __init__(
        self, client: httpx.AsyncClient, settings: BgeM3Settings, retries: Retries
    ) -> None:
        self.url = shown(client.base_url).rstrip("/")
        self._client = client
        self._retries = retries
        self._batch = settings.batch
        self._slots = asyncio.Semaphore(settings.concurrency)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: BgeM3Settings, retries: Retries | None = None
    ) -> AsyncIterator[Server]:
        """The server that *settings* name.

        :raises NotConfigured: they name none.
        """
        url, verify = settings.asked()
        if url is None:
            raise NotConfigured(
                "[plugins.bge_m3] url is not set",
                hint="set it or SPARK_CONTROL_URL to the address of the embeddings server",
            )
        async with open_client(
            url,
            verify=verify,
            timeout=settings.timeout_s,
            headers=_headers(settings),
        ) as client:
            yield cls(client, settings, retries or Retries(count=settings.retries))

    async def ask(self, path: str, body: Mapping[str, Any], answer: type[A]) -> A:
        """POST *body* to *path*; the answer must fit the model *answer*.

        :raises BackendError: it does not fit.
        """
        async with self._slots:
            response = await request_with_retries(
                self._client, "POST", path, json=body, retries=self._retries
            )
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_context=False, include_url=False)[0]
            place = ".".join(map(str, problem["loc"])) or "all of it"
            # Not chained: pydantic's own message quotes what it found.
            raise BackendError(
                f"{self.url}{path} answered with something else than was asked for: "
                f"{place}: {problem['msg'].partition(':')[0]}"
            ) from None

    async def in_batches(
        self, texts: Sequence[str], ask: Callable[[Sequence[str]], Coroutine[Any, Any, list[R]]]
    ) -> list[R]:
        """Give *texts* to *ask* a batch at a time and join the results, in order.

        Batches run side by side; where one fails, the others are cancelled.
        """
        starts = range(0, len(texts), self._batch)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(texts[n : n + self._batch])) for n in starts]
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
        else:
            return [result for task in tasks for result in task.result()]
        raise failure


def _headers(settings: BgeM3Settings) -> dict[str, str]:
    if settings.api_key is None:
        return {}
    return {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}


class Indexed(Protocol):
    """Part of an answer that says which text it belongs to."""

    index: int


Item = TypeVar("Item", bound=Indexed)


def in_order(items: list[Item], count: int, where: str) -> list[Item]:
    """*items* by the texts they belong to, of which there are *count*.

    :raises BackendError: they are not one for each text.
    """
    ordered = sorted(items, key=lambda item: item.index)
    if [item.index for item in ordered] != list(range(count)):
        raise BackendError(f"{where} did not answer with one result for each of {count} texts")
    return ordered


def readable(text: str) -> str:
    """*text* as far as a model reads it; half a surrogate pair becomes a question mark."""
    return text[:LONGEST].encode("utf-8", "replace").decode()
